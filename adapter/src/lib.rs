//! andon as a product.

pub mod line;
pub mod ops;
pub mod sim;
pub mod store;
pub mod wire;
