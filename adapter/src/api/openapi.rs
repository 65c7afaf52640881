//! The API's description: OpenAPI 3.1, generated from the handlers.

use axum::Router;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa_swagger_ui::SwaggerUi;

use super::App;
use super::problem::PROBLEM_JSON;

mod bounds;
mod links;

use crate::wire::Problem;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "andon",
        description = "The andon cord for lines of jobs. Every error is an RFC 9457 problem with a stable \
                   `code`; every POST takes an `Idempotency-Key`; only *resume queue* resumes."
    ),
    components(schemas(Problem))
)]
struct Base;

pub(super) fn base() -> Document {
    let mut document = Base::openapi();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document
        .components
        .get_or_insert_default()
        .add_security_scheme(TOKEN, bearer);
    // A server without tokens, which listens on loopback only, asks for none.
    let with_token = SecurityRequirement::new(TOKEN, Vec::<String>::new());
    document.security = Some(vec![with_token, SecurityRequirement::default()]);
    document
}

/// The name of the security scheme.
const TOKEN: &str = "token";

/// Adds what holds for every operation: each may answer a problem, each POST takes an idempotency key (I14),
/// and every parameter and body has its bounds. Answers say which requests may follow them.
pub(super) fn complete(mut document: Document) -> Document {
    for item in document.paths.paths.values_mut() {
        if let Some(post) = &mut item.post {
            let key = header("Idempotency-Key", KEY_MEANING);
            post.parameters.get_or_insert_default().push(RefOr::T(key));
        }
        for operation in operations(item) {
            let problem = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .build();
            let response = ResponseBuilder::new()
                .description("What went wrong, by its stable `code`")
                .content(PROBLEM_JSON, problem)
                .build();
            let responses = &mut operation.responses.responses;
            // Every refusal is a problem, and is sent as one.
            for (status, refusal) in &mut *responses {
                if status.starts_with(['4', '5'])
                    && let RefOr::T(refusal) = refusal
                    && let Some(body) = refusal.content.shift_remove("application/json")
                {
                    refusal.content.insert(PROBLEM_JSON.into(), body);
                }
            }
            responses
                .entry("default".into())
                .or_insert(RefOr::T(response));
        }
    }
    for path in ["resume-queue", "resume-service"] {
        let path = format!("/api/v1/queue-management/{path}");
        if let Some(post) = document
            .paths
            .paths
            .get_mut(&path)
            .and_then(|item| item.post.as_mut())
        {
            let version = header("If-Match", VERSION_MEANING);
            post.parameters
                .get_or_insert_default()
                .push(RefOr::T(version));
        }
    }
    bounds::describe(&mut document);
    links::describe(&mut document);
    document
}

const KEY_MEANING: &str = "1 to 255 printable characters: the same key and body get the first answer \
                           again, with `Idempotency-Replayed: true`";

const VERSION_MEANING: &str = "The `ETag` of what the operator saw: if the line has changed since, the \
                               resume is refused with 412 (R11)";

fn header(name: &str, meaning: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .description(Some(meaning))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.post,
        &mut item.patch,
        &mut item.put,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

/// The document at `/api/openapi.json`, and pages that show it at `/api/docs`.
pub(super) fn router(document: Document) -> Router<App> {
    SwaggerUi::new("/api/docs")
        .url("/api/openapi.json", document)
        .into()
}
