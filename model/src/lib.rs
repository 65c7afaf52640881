//! Models of the rules.
