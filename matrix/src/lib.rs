//! Records to self-contained HTML.
