//! Tokens and cookies that are forged, doubled, huge or misplaced.

use crate::attacked::Attacked;

const STATUS: &str = "GET /api/v1/queue-management/status";
const PAUSE: &str = "POST /api/v1/queue-management/pause-queue";

#[test]
fn credentials_that_are_not_exactly_right_are_none() {
    let server = Attacked::with_tokens();
    // Let in before the guesses, and so afterwards.
    server.is_well("authorization: Bearer operator-secret\r\n");
    let huge = format!("authorization: Bearer {}\r\n", "x".repeat(50_000));
    let cookies = format!("cookie: {}\r\n", "andon_session=x; ".repeat(3_000));
    for headers in [
        "",
        "authorization: Bearer\r\n",
        "authorization: Bearer \r\n",
        "authorization: Bearer operator-secret2\r\n",
        "authorization: Bearer Operator-secret\r\n",
        "authorization: Bearer operator-secret operator-secret\r\n",
        "authorization: Bearer \"operator-secret\"\r\n",
        "authorization: Basic b3BlcmF0b3I6\r\n",
        "authorization: operator-secret\r\n",
        "authorization: Bearer operator-secret\u{fc}\r\n",
        "proxy-authorization: Bearer operator-secret\r\n",
        "x-forwarded-user: operator\r\n",
        "x-original-url: /health/live\r\n",
        "cookie: andon_session=\r\n",
        "cookie: andon_session\r\n",
        "cookie: Andon_Session=operator\r\n",
        "cookie: x=andon_session=operator-secret\r\n",
        "cookie: andon_session=\"operator-secret\"\r\n",
        "cookie: andon_session=%6fperator-secret\r\n",
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
    let two = "authorization: Bearer guessed\r\nauthorization: Bearer operator-secret\r\n";
    assert!([401, 429].contains(&server.ask(PAUSE, two, b"").status));
    let two = "cookie: andon_session=guessed; andon_session=operator-secret\r\n";
    assert!([401, 429].contains(&server.ask(STATUS, two, b"").status));
    for path in [
        "?token=operator-secret",
        "?access_token=operator-secret",
        "?andon_session=operator-secret",
    ] {
        assert_eq!(server.ask(&format!("{STATUS}{path}"), "", b"").status, 401);
    }
    server.is_well("authorization: Bearer operator-secret\r\n");
}

/// Whoever guesses is stopped, and is not told when a guess is right; whoever came before works on.
#[test]
fn an_address_that_guesses_is_answered_429() {
    let server = Attacked::with_tokens();
    server.is_well("authorization: Bearer operator-secret\r\n");
    let guess = |token: &str| {
        let headers = format!("authorization: Bearer {token}\r\n");
        server.ask(STATUS, &headers, b"")
    };
    let mut tried = 0;
    let refused = loop {
        let said = guess(&format!("guess-{tried}"));
        if said.status != 401 {
            break said;
        }
        tried += 1;
        assert!(tried < 1000, "{}", said.text);
    };
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert_eq!(refused.json()["code"], "too_many_guesses");
    assert!(
        refused.text.contains("\r\nretry-after: "),
        "{}",
        refused.text
    );
    assert!((20..40).contains(&tried), "{tried}");
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for body in ["token=guess", "token=viewer-secret"] {
        let said = server.ask("POST /login", form, body.as_bytes());
        assert_eq!(said.status, 429, "{}", said.text);
        assert!(!said.text.contains("\r\nset-cookie"), "{}", said.text);
    }
    assert_eq!(
        server
            .ask("GET /", "cookie: andon_session=guess\r\n", b"")
            .status,
        429
    );
    assert_eq!(guess("viewer-secret").status, 429);
    server.is_well("authorization: Bearer operator-secret\r\n");
    // Who sends none is asked for one, as ever.
    assert_eq!(server.ask(STATUS, "", b"").status, 401);
}

/// What a browser may keep of a login is the token alone, whatever is sent beside it.
#[test]
fn a_login_sets_nothing_but_the_token_and_leads_nowhere_else() {
    let server = Attacked::with_tokens();
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for (body, statuses) in [
        ("token=operator-secret%0d%0aset-cookie:%20a=b", &[401][..]),
        ("token=operator-secret%3b%20domain=evil.example", &[401]),
        (
            "token=operator-secret&next=/%0d%0aset-cookie:%20a=b",
            &[303],
        ),
        ("token=operator-secret&next=//evil.example", &[303]),
        ("token=operator-secret&next=https://evil.example", &[303]),
        ("token=operator-secret&next=/%5cevil.example", &[303]),
        ("token=operator-secret&next=/%09/evil.example", &[303]),
        ("token=operator-secret&next=javascript:alert(1)", &[303]),
        ("token=a&token=operator-secret", &[400, 401, 422]),
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
