//! Drives browsers through the matrix of cells.
