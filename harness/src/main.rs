//! The command line of Fewbit.
fn main() {}
