//! andon as a product.

pub mod sim;
