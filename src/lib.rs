//! The rules of the andon cord.
