//! R16, R30: a permit comes only from a live confirmation.
use andon::{CallNumber, Permit, ServiceName, Token, Version};

fn permit(token: Token, call: CallNumber, service: ServiceName) -> Permit {
    Permit { token, call, service, version: Version::ZERO }
}

fn main() {}
