use super::*;

fn load(toml: &str, environment: &[(&str, &str)], flags: Flags) -> Result<Config, Error> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("andon.toml");
    std::fs::write(&file, toml).unwrap();
    Config::load(&Layers {
        file: Some(file),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags,
    })
}

#[track_caller]
fn check_error(toml: &str, says: &[&str]) {
    let error = load(toml, &[], Flags::default()).unwrap_err().to_string();
    for part in says {
        assert!(error.contains(part), "`{error}` does not say `{part}`");
    }
}

fn name(service: &str) -> ServiceName {
    ServiceName::new(service).unwrap()
}

#[test]
fn defaults_are_a_local_line_with_the_five_services_at_threshold_1() {
    let config = load("", &[], Flags::default()).unwrap();
    assert_eq!(config.database, DATABASE_DEFAULT);
    assert_eq!(config.listen.to_string(), LISTEN_DEFAULT);
    assert_eq!(config.services.len(), 5);
    assert!(
        config
            .services
            .values()
            .all(|service| service.breaker.threshold() == 1)
    );
    assert!(config.tokens.is_empty() && !config.strict_operators);
}

#[test]
fn retention_is_off_by_default_and_keeps_at_least_two_days() {
    let none = load("", &[], Flags::default()).unwrap();
    assert_eq!(none.retention, Retention::default());
    assert!(none.shown().get("retention").is_none());
    let config = load(
        "[retention]\nfinished_jobs = \"90d\"\n",
        &[],
        Flags::default(),
    )
    .unwrap();
    assert_eq!(
        config.retention.finished_jobs,
        Some(Duration::from_hours(90 * 24))
    );
    assert!(
        config
            .shown_as_toml()
            .contains("[retention]\nfinished_jobs = \"90d\"\n")
    );
    let environment = [("ANDON_RETENTION__FINISHED_JOBS", "3d")];
    let config = load("", &environment, Flags::default()).unwrap();
    assert_eq!(
        config.retention.finished_jobs,
        Some(Duration::from_hours(72))
    );
    check_error(
        "[retention]\nfinished_jobs = \"1d\"\n",
        &[
            "retention.finished_jobs",
            "must be 2d or more, such as 90d",
            "it is 1d",
        ],
    );
    let both = "[retention]\njournal = \"400d\"\njournal_archive = \"archive\"\n";
    let config = load(both, &[], Flags::default()).unwrap();
    let journal = config.retention.journal.as_ref().unwrap();
    assert_eq!(journal.age, Duration::from_hours(400 * 24));
    assert!(journal.folder.is_absolute(), "below the file's folder");
    assert!(
        config
            .shown_as_toml()
            .contains("journal = \"400d\"\njournal_archive = \"/")
    );
    let half = ["journal = \"400d\"\n", "journal_archive = \"archive\"\n"];
    for half in half {
        check_error(
            &format!("[retention]\n{half}"),
            &["retention.journal", "goes with"],
        );
    }
    check_error("[retention]\njobs = \"9d\"\n", &["jobs", "finished_jobs"]);
}

#[test]
fn each_layer_stands_over_the_one_before_it() {
    let toml = "listen = \"127.0.0.1:1\"\ngate_ttl = 3\n[services.openai]\nthreshold = 2\n";
    let config = load(toml, &[], Flags::default()).unwrap();
    assert_eq!(config.listen.port(), 1);
    assert_eq!(config.gate_ttl, Duration::from_secs(3));
    assert_eq!(config.services.len(), 1, "declaring replaces the defaults");

    let environment = [
        ("ANDON_LISTEN", "127.0.0.1:2"),
        ("ANDON_SERVICES__OPENAI__THRESHOLD", "3"),
        ("ANDON_SERVICES__CRM__BASE_URL", "http://127.0.0.1:9"),
        ("ANDON_SERVER", "http://elsewhere"),
        ("PATH", "/bin"),
    ];
    let config = load(toml, &environment, Flags::default()).unwrap();
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.services[&name("openai")].breaker.threshold(), 3);
    assert_eq!(
        config.services[&name("crm")].base_url.as_deref(),
        Some("http://127.0.0.1:9")
    );

    let flags = Flags {
        listen: Some("localhost:0".into()),
        services: vec![(name("openai"), Some(4)), (name("apollo"), None)],
        ..Flags::default()
    };
    let config = load(toml, &environment, flags).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.services[&name("openai")].breaker.threshold(), 4);
    assert_eq!(config.services[&name("apollo")].breaker.threshold(), 1);
    assert_eq!(config.services.len(), 3);
}

#[test]
fn errors_name_the_key_what_is_wrong_and_what_would_be_right() {
    check_error("lisen = \"x\"", &["lisen", "listen"]);
    check_error("listen = \"7700\"", &["listen", "7700", "127.0.0.1:7700"]);
    check_error("gate_ttl = \"soon\"", &["gate_ttl", "soon", "30s"]);
    check_error("gate_ttl = \"1ms\"", &["gate_ttl", "200ms", "1m"]);
    check_error("gate_ttl = -1", &["gate_ttl", "-1", "30s"]);
    check_error(
        "[services.a]\ntreshold = 1",
        &["treshold", "threshold", "services.a"],
    );
    check_error(
        "[services.a]\nthreshold = 0",
        &["services.a.threshold", "at least 1"],
    );
    check_error(
        "[services.a]\nbase_url = \"crm.example.com\"",
        &["services.a.base_url", "https://"],
    );
    check_error(
        "[services.a]\nbase_url = \"https://u:p@crm.example.com\"",
        &["services.a.base_url", "header"],
    );
    check_error(
        "[services.a]\nstatuses = { 500 = \"permanent\" }",
        &["services.a.statuses.500", "401, 402, 403 and 429"],
    );
    check_error(
        "[services.a]\nstatuses = { 429 = \"ignore\" }",
        &["429", "ignore", "permanent"],
    );
    check_error(
        "[services.a]\nheaders.Authorization = \"Bearer x\"",
        &["services.a.headers.Authorization", "env = "],
    );
    check_error(
        "[services.a]\nheaders.X-Key = { envv = \"A\" }",
        &["envv", "env"],
    );
    check_error(
        "[[tokens]]\nname = \"ada\"\nrole = \"boss\"\nsha256 = \"00\"",
        &["boss", "operator"],
    );
    check_error(
        "[[tokens]]\nname = \"ada\"\nrole = \"operator\"\nsha256 = \"00\"",
        &["tokens[0].sha256", "64 hexadecimal digits"],
    );
    check_error("listen = ", &["andon.toml"]);
}

#[test]
fn an_unknown_variable_is_an_error_that_lists_the_keys() {
    let error = load("", &[("ANDON_LISEN", "x")], Flags::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("ANDON_LISEN") && text.contains("listen"),
        "{text}"
    );
}

#[test]
fn secrets_are_not_shown() {
    let toml = "database = \"postgres://ada:hunter2@db.example.com/line\"\n\
        [services.crm]\nheaders.X-Trace = \"hunter2\"\n\
        headers.Authorization = { env = \"CRM\", prefix = \"Bearer \" }\n\
        [[tokens]]\nname = \"ada\"\nrole = \"operator\"\n\
        sha256 = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"";
    let config = load(toml, &[], Flags::default()).unwrap();
    for text in [config.shown().to_string(), config.shown_as_toml()] {
        assert!(
            !text.contains("hunter2") && !text.contains("aaaa"),
            "{text}"
        );
        assert!(
            text.contains("CRM") && text.contains("ada@db.example.com"),
            "{text}"
        );
    }
}

#[test]
fn a_header_from_a_file_is_read_beside_the_configuration_without_its_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("andon.toml");
    let toml = "[services.crm]\nheaders.X-Api-Key = { file = \"crm.key\", prefix = \"k:\" }";
    std::fs::write(&file, toml).unwrap();
    std::fs::write(folder.path().join("crm.key"), "s3cret\n").unwrap();
    let layers = Layers {
        file: Some(file),
        ..Layers::default()
    };
    let config = Config::load(&layers).unwrap();
    let header = &config.services[&name("crm")].headers["X-Api-Key"];
    let value = header.value("services.crm.headers.X-Api-Key").unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&value), "k:s3cret");
}

#[test]
fn no_password_of_a_url_is_shown() {
    for (url, shown) in [
        ("postgres://ada@db/line", "postgres://ada@db/line"),
        ("postgres://ada:secret@db/line", "postgres://ada@db/line"),
        ("postgres://ada:se/cr?e@t@db/line", "postgres://ada@db/line"),
        (
            "postgres://db/line?user=ada&password=secret&sslmode=require",
            "postgres://db/line?user=ada&sslmode=require",
        ),
        (
            "postgres://ada:secret@db/line?PASSWORD=secret",
            "postgres://ada@db/line",
        ),
        ("sqlite://andon.db?mode=rwc", "sqlite://andon.db?mode=rwc"),
        ("sqlite:///srv/line.db", "sqlite:///srv/line.db"),
    ] {
        assert_eq!(database_shown(url), shown, "{url}");
    }
}
