//! What parameters and bodies are bounded by, for readers of the document: the code that refuses says the
//! same in its errors. `cargo xtask schemathesis` holds the two against each other.

use utoipa::Number;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayItems, KnownFormat, Object, ObjectBuilder, OneOfBuilder, Schema,
    SchemaFormat, Type,
};
use utoipa::openapi::{OpenApi as Document, RefOr, Required};

use super::operations;

/// What a value may be. Of a list it is said of its items.
#[derive(Debug, Clone, Copy)]
enum Bound {
    Id,
    /// From so many to so many characters, and a pattern.
    Text(usize, usize, &'static str),
    /// From this number to that one.
    Number(usize, usize),
}

use Bound::{Id, Number as Whole, Text};

/// No control character, and something else than blanks.
const WORDS: &str = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
/// No control character.
const PLAIN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// No NUL.
const LINES: &str = r"^[^\u0000]*$";
/// What a header carries: printable ASCII, no blank at either end.
const KEY: &str = "^[!-~]([ -~]*[!-~])?$";
/// A version as an entity tag, or any.
const TAG: &str = r#"^(\*|(W/)?"?[0-9]{1,18}"?)$"#;
const CURSOR: &str = "^c[0-9a-f]{32}$";
const KINDS: &str = "^([a-z_]{1,64}(,[a-z_]{1,64}){0,30})?$";
const CAMPAIGN_STATUSES: &str = "^(CREATED|RUNNING|PAUSED|COMPLETED|FAILED|CANCELLED)(,(CREATED|RUNNING|PAUSED|COMPLETED|FAILED|CANCELLED))*$";
const JOB_STATUSES: &str = "^(PENDING|PROCESSING|PAUSED|COMPLETED|FAILED|CANCELLED)(,(PENDING|PROCESSING|PAUSED|COMPLETED|FAILED|CANCELLED))*$";

/// Counters are 63-bit.
const COUNTER_MAX: usize = usize::MAX / 2;
const U32_MAX: usize = u32::MAX as usize;

/// What has one meaning wherever it stands.
const EVERYWHERE: &[(&str, Bound)] = &[
    ("id", Id),
    ("job_id", Id),
    ("campaign_id", Id),
    ("campaign", Id),
    ("worker_id", Id),
    ("keep", Id),
    ("service", Text(1, 100, WORDS)),
    ("services", Text(1, 100, WORDS)),
    ("kinds", Text(1, 100, WORDS)),
    ("step", Text(1, 100, WORDS)),
    ("name", Text(1, 255, WORDS)),
    ("unique_key", Text(1, 255, WORDS)),
    ("reason", Text(1, 1000, WORDS)),
    ("description", Text(0, 10_000, LINES)),
    ("token", Whole(0, COUNTER_MAX)),
    ("gate_version", Whole(0, COUNTER_MAX)),
    ("after_version", Whole(0, COUNTER_MAX)),
    ("call", Whole(0, COUNTER_MAX)),
    ("limit", Whole(1, U32_MAX)),
    ("wait_seconds", Whole(0, U32_MAX)),
    ("lease_seconds", Whole(1, 3600)),
    ("retry_after_seconds", Whole(0, usize::MAX)),
    ("max_attempts", Whole(1, 1000)),
    ("page", Whole(1, U32_MAX)),
    ("per_page", Whole(1, 200)),
    ("q", Text(0, 255, PLAIN)),
    ("Idempotency-Key", Text(1, 255, KEY)),
    ("If-Match", Text(1, 23, TAG)),
    ("Last-Event-ID", Whole(0, COUNTER_MAX)),
];

/// What means something else in one body, or at the end of one path; it goes before the table above.
const HERE: &[(&str, &str, Bound)] = &[
    ("NewJob", "kind", Text(1, 100, WORDS)),
    ("CallReportRequest", "call", Whole(1, COUNTER_MAX)),
    ("SnoozeRequest", "seconds", Whole(0, 30 * 24 * 3600)),
    ("PostponeJob", "seconds", Whole(0, 365 * 24 * 3600)),
    ("/campaigns", "status", Text(1, 1000, CAMPAIGN_STATUSES)),
    ("/jobs", "status", Text(1, 1000, JOB_STATUSES)),
    ("/jobs", "kind", Text(0, 255, PLAIN)),
    ("/history", "kind", Text(0, 2000, KINDS)),
    ("/history", "after", Whole(0, COUNTER_MAX)),
    ("", "after", Text(33, 33, CURSOR)),
];

/// How many items a list in a body holds.
const LISTS: &[(&str, &str, usize, usize)] = &[
    ("AddJobs", "jobs", 1, 10_000),
    ("CreateCampaign", "jobs", 0, 10_000),
    ("CompleteRequest", "spawn", 0, 10_000),
    ("ReportsRequest", "reports", 1, 1000),
    ("RegisterRequest", "kinds", 1, 100),
    ("RegisterRequest", "services", 0, 100),
];

/// Names that a server is likely to know, to begin with.
const SERVICE_EXAMPLE: &str = "openai";

/// Gives every parameter and every field of a body its bounds.
pub(super) fn describe(document: &mut Document) {
    let mut optional = Vec::new();
    if let Some(components) = &mut document.components {
        for (name, schema) in &mut components.schemas {
            let RefOr::T(schema) = schema else { continue };
            close_variants(name, schema);
            let Schema::Object(object) = schema else {
                continue;
            };
            if !is_body(object) {
                continue;
            }
            if object.required.is_empty() {
                optional.push(format!("#/components/schemas/{name}"));
            }
            for (field, schema) in &mut object.properties {
                if let RefOr::T(schema) = schema {
                    bound_field(name, field, schema);
                }
            }
        }
    }
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    bound_parameter(path, parameter);
                }
            }
            leave_out(operation, &optional);
        }
    }
}

/// Bodies are what refuses unknown fields.
fn is_body(object: &Object) -> bool {
    matches!(
        object.additional_properties.as_deref(),
        Some(AdditionalProperties::FreeForm(false))
    )
}

/// A report is of exactly one kind.
fn close_variants(name: &str, schema: &mut Schema) {
    let Schema::OneOf(variants) = schema else {
        return;
    };
    for variant in &mut variants.items {
        if let (RefOr::T(Schema::Object(object)), "Report") = (variant, name) {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

/// A body of which nothing is required may be left out, or be `null`.
fn leave_out(operation: &mut Operation, optional: &[String]) {
    let Some(RefOr::T(body)) = &mut operation.request_body else {
        return;
    };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        let Some(RefOr::Ref(schema)) = &content.schema else {
            continue;
        };
        if optional.contains(&schema.ref_location) {
            let null = ObjectBuilder::new().schema_type(Type::Null);
            let either = OneOfBuilder::new().item(schema.clone()).item(null);
            content.schema = Some(RefOr::T(Schema::OneOf(either.build())));
            body.required = Some(Required::False);
        }
    }
}

fn bound_field(body: &str, field: &str, schema: &mut Schema) {
    let counted = LISTS.iter().find(|(b, f, ..)| (*b, *f) == (body, field));
    if let (Schema::Array(list), Some((_, _, min, max))) = (&mut *schema, counted) {
        list.min_items = Some(*min);
        list.max_items = Some(*max);
    }
    if let Some(bound) = bound_in(|place| place == body, field) {
        apply(schema, bound);
    }
}

fn bound_parameter(path: &str, parameter: &mut Parameter) {
    let is_of_path = parameter.parameter_in == ParameterIn::Path;
    if let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema
        && is_of_path
        && parameter.name == "service"
    {
        object.examples.push(SERVICE_EXAMPLE.into());
    }
    let is_here =
        |place: &str| (place.is_empty() || place.starts_with('/')) && path.ends_with(place);
    let bound = bound_in(is_here, &parameter.name);
    if let (Some(RefOr::T(schema)), Some(bound)) = (&mut parameter.schema, bound) {
        apply(schema, bound);
    }
}

fn bound_in(is_here: impl Fn(&str) -> bool, name: &str) -> Option<Bound> {
    let here = HERE
        .iter()
        .find(|(place, n, _)| is_here(place) && *n == name);
    let everywhere = || EVERYWHERE.iter().find(|(n, _)| *n == name);
    here.map(|(_, _, bound)| *bound)
        .or_else(|| everywhere().map(|(_, bound)| *bound))
}

fn apply(schema: &mut Schema, bound: Bound) {
    match schema {
        Schema::Object(object) => bound_value(object, bound),
        Schema::Array(list) => {
            if let ArrayItems::RefOrSchema(items) = &mut list.items
                && let RefOr::T(Schema::Object(object)) = &mut **items
            {
                bound_value(object, bound);
            }
        }
        Schema::OneOf(_) | Schema::AllOf(_) | Schema::AnyOf(_) | _ => {}
    }
}

fn bound_value(value: &mut Object, bound: Bound) {
    match bound {
        Id => value.format = Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)),
        Text(min, max, pattern) => {
            value.min_length = Some(min);
            value.max_length = Some(max);
            value.pattern = Some(pattern.into());
        }
        Whole(min, max) => {
            value.minimum = Some(Number::UInt(min));
            value.maximum = Some(Number::UInt(max));
            // They would say that there is less room.
            value.format = None;
        }
    }
}
