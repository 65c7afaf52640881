//! andon as a product.
