//! andon as a product.

pub mod enqueue;
pub mod line;
pub mod ops;
pub mod sim;
pub mod store;
pub mod wire;
pub mod worker;
