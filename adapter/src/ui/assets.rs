//! What pages load: one style sheet, one script, the icons. They are in the binary, and each has a hash
//! of its content in its address, so that a browser never holds one that does not fit the page.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};

#[derive(RustEmbed)]
#[folder = "src/ui/assets"]
struct Assets;

/// A hash of all assets and of this version of andon.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut names: Vec<_> = Assets::iter().collect();
    names.sort();
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    for name in names {
        if let Some(file) = Assets::get(&name) {
            hash.update(file.metadata.sha256_hash());
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest
        .iter()
        .take(8)
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
});

/// Which version of the screen this is: an open page loads itself anew when it changes.
pub(super) fn version() -> &'static str {
    &VERSION
}

/// Where an asset is found.
pub(super) fn url(name: &str) -> String {
    format!("/assets/{}/{name}", version())
}

/// Answers an asset. One of another version is not found: its page is of another andon.
pub(super) async fn asset(Path((version, name)): Path<(String, String)>) -> Response {
    let file = Assets::get(&name).filter(|_| version == self::version());
    let Some(file) = file else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let media_type = match name.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, file.data.into_owned()).into_response()
}
