//! Tokens and cookies that are forged, doubled, huge or misplaced.

use crate::attacked::Attacked;

const STATUS: &str = "GET /api/v1/queue-management/status";
const PAUSE: &str = "POST /api/v1/queue-management/pause-queue";

#[test]
fn credentials_that_are_not_exactly_right_are_none() {
    let server = Attacked::with_tokens();
    let huge = format!("authorization: Bearer {}\r\n", "x".repeat(50_000));
    let cookies = format!("cookie: {}\r\n", "andon_session=x; ".repeat(3_000));
    for headers in [
        "",
        "authorization: Bearer\r\n",
        "authorization: Bearer \r\n",
        "authorization: Bearer operator2\r\n",
        "authorization: Bearer Operator\r\n",
        "authorization: Bearer operator operator\r\n",
        "authorization: Bearer \"operator\"\r\n",
        "authorization: Basic b3BlcmF0b3I6\r\n",
        "authorization: operator\r\n",
        "authorization: Bearer operator\u{fc}\r\n",
        "proxy-authorization: Bearer operator\r\n",
        "x-forwarded-user: operator\r\n",
        "x-original-url: /health/live\r\n",
        "cookie: andon_session=\r\n",
        "cookie: andon_session\r\n",
        "cookie: Andon_Session=operator\r\n",
        "cookie: x=andon_session=operator\r\n",
        "cookie: andon_session=\"operator\"\r\n",
        "cookie: andon_session=%6fperator\r\n",
        &huge,
        &cookies,
    ] {
        let said = server.ask(STATUS, headers, b"");
        assert!(
            [400, 401, 429].contains(&said.status),
            "{headers:.80}: {}",
            said.text
        );
        let said = server.ask(PAUSE, headers, b"");
        assert!(
            [400, 401, 429].contains(&said.status),
            "{headers:.80}: {}",
            said.text
        );
    }
    // Of several the first is taken, and no other is tried.
    let two = "authorization: Bearer guessed\r\nauthorization: Bearer operator\r\n";
    assert!([401, 429].contains(&server.ask(PAUSE, two, b"").status));
    let two = "cookie: andon_session=guessed; andon_session=operator\r\n";
    assert!([401, 429].contains(&server.ask(STATUS, two, b"").status));
    for path in [
        "?token=operator",
        "?access_token=operator",
        "?andon_session=operator",
    ] {
        assert_eq!(server.ask(&format!("{STATUS}{path}"), "", b"").status, 401);
    }
    server.is_well("authorization: Bearer operator\r\n");
}

/// What a browser may keep of a login is the token alone, whatever is sent beside it.
#[test]
fn a_login_sets_nothing_but_the_token_and_leads_nowhere_else() {
    let server = Attacked::with_tokens();
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for (body, statuses) in [
        ("token=operator%0d%0aset-cookie:%20a=b", &[401][..]),
        ("token=operator%3b%20domain=evil.example", &[401]),
        ("token=operator&next=/%0d%0aset-cookie:%20a=b", &[303]),
        ("token=operator&next=//evil.example", &[303]),
        ("token=operator&next=https://evil.example", &[303]),
        ("token=operator&next=/%5cevil.example", &[303]),
        ("token=operator&next=/%09/evil.example", &[303]),
        ("token=operator&next=javascript:alert(1)", &[303]),
        ("token=a&token=operator", &[400, 401, 422]),
        ("token[]=operator", &[400, 422]),
    ] {
        let said = server.ask("POST /login", form, body.as_bytes());
        assert!(statuses.contains(&said.status), "{body}: {}", said.text);
        let head = said.text.split("\r\n\r\n").next().unwrap().to_lowercase();
        assert!(
            !head.contains("evil") && !head.contains("a=b"),
            "{body}: {head}"
        );
        if said.status == 303 {
            assert!(head.contains("\r\nlocation: /\r\n"), "{body}: {head}");
        }
    }
}
