//! The body of a POST, PUT or PATCH, by content type (gateway.md §1, §1.1).
//!
//! JSON is used as it is. Forms stay pairs until the schema, which gives them types, is known.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;
use tollgate_core::collection::Document;
use tollgate_core::schema::Schema;

use crate::query::{self, MAX_ARGUMENTS};
use crate::response::Failure;
use crate::state::Limits;

/// How much of a refused body is read, as a multiple of the body limit.
const DISCARDED: usize = 4;

/// A request's input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Input {
    /// A JSON object; `{}` if there is no body.
    Json(Document),
    /// Names and values of a form, in order.
    Form(Vec<(String, Value)>),
}

impl Input {
    /// Converts the input to a document with a schema.
    pub(crate) fn into_document(self, schema: &Schema) -> Document {
        match self {
            Self::Json(document) => document,
            Self::Form(pairs) => schema.decode_form(pairs),
        }
    }

    /// A top-level value, before the schema is known.
    pub(crate) fn peek(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Json(document) => document.get(name),
            Self::Form(pairs) => pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value),
        }
    }

    /// Reads a body. Methods without a body get an empty document.
    pub(crate) async fn read(
        method: &Method,
        headers: &HeaderMap,
        body: Body,
        limits: &Limits,
    ) -> Result<Self, Failure> {
        if ![Method::POST, Method::PUT, Method::PATCH].contains(method) {
            return Ok(Self::nothing());
        }
        let media_type = MediaType::of(headers)?;
        if matches!(media_type, MediaType::Unknown | MediaType::Yaml) {
            return Err(Failure::UnsupportedMediaType);
        }
        let bytes = collect(headers, body, limits).await?;
        match media_type {
            MediaType::Absent if bytes.is_empty() => Ok(Self::nothing()),
            MediaType::Absent | MediaType::Unknown | MediaType::Yaml => Err(Failure::UnsupportedMediaType),
            MediaType::Json => json(&bytes),
            MediaType::Form => form(&bytes),
            MediaType::Multipart(boundary) => multipart(bytes, boundary).await,
        }
    }

    fn nothing() -> Self {
        Self::Json(Document::new())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum MediaType {
    Absent,
    Json,
    Form,
    /// With the boundary, if there is one.
    Multipart(Option<String>),
    /// Only of a configuration.
    Yaml,
    Unknown,
}

impl MediaType {
    fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let Some(value) = values.next() else { return Ok(Self::Absent) };
        if values.next().is_some() {
            return Err(Failure::SeveralContentTypes);
        }
        let Ok(value) = value.to_str() else { return Ok(Self::Unknown) };
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Ok(match essence.as_str() {
            "application/json" => Self::Json,
            "application/x-www-form-urlencoded" => Self::Form,
            "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Self::Yaml,
            "multipart/form-data" => Self::Multipart(multer::parse_boundary(value).ok()),
            _ => Self::Unknown,
        })
    }
}

/// A configuration that was posted.
pub(crate) struct Posted {
    /// The configuration; `None`: there is none.
    pub(crate) text: Option<String>,
    /// What was said with it.
    pub(crate) arguments: Vec<(String, Value)>,
}

/// The configuration in a body: the whole of it, or its field `config` (gateway.md §10.2).
pub(crate) async fn configuration(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Posted, Failure> {
    /// The field.
    const CONFIG: &str = "config";
    let media_type = MediaType::of(headers)?;
    if media_type == MediaType::Unknown {
        return Err(Failure::UnsupportedMediaType);
    }
    let bytes = collect(headers, body, limits).await?;
    let pairs = match media_type {
        MediaType::Absent if bytes.is_empty() => Vec::new(),
        MediaType::Absent | MediaType::Unknown => return Err(Failure::UnsupportedMediaType),
        MediaType::Yaml => return Ok(Posted { text: Some(text(bytes.to_vec())?), arguments: Vec::new() }),
        MediaType::Json => {
            let Input::Json(document) = json(&bytes)? else { return Err(Failure::BadJson) };
            if document.is_empty() || document.contains_key("_format_version") || !document.contains_key(CONFIG) {
                let text = if document.is_empty() { None } else { Some(text(bytes.to_vec())?) };
                return Ok(Posted { text, arguments: Vec::new() });
            }
            document.into_iter().collect()
        }
        MediaType::Form => into_pairs(form(&bytes)?),
        MediaType::Multipart(boundary) => into_pairs(multipart(bytes, boundary).await?),
    };
    let given = pairs.iter().find(|(name, _)| name == CONFIG);
    let text = given.and_then(|(_, value)| value.as_str()).map(str::to_owned);
    Ok(Posted { text, arguments: pairs })
}

fn into_pairs(input: Input) -> Vec<(String, Value)> {
    match input {
        Input::Form(pairs) => pairs,
        Input::Json(document) => document.into_iter().collect(),
    }
}

/// The whole body, within limits of size and time.
async fn collect(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Bytes, Failure> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limits.body_bytes) {
        discard(body, limits).await;
        return Err(Failure::BodyTooLarge);
    }
    let mut body = body;
    let reading = Limited::new(&mut body, limits.body_bytes).collect();
    match timeout(limits.body_timeout, reading).await? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            discard(body, limits).await;
            Err(Failure::BodyTooLarge)
        }
        // A chunk is invalid, or the client is gone and nobody reads this response.
        Err(_) => Err(Failure::BrokenBody),
    }
}

/// Reads and drops the rest of a refused body: if the connection closes while the client is still sending, it
/// sees a reset instead of the response. Bounded in size and time.
async fn discard(mut body: Body, limits: &Limits) {
    let mut left = limits.body_bytes.saturating_mul(DISCARDED);
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    let _ = timeout(limits.body_timeout, reading).await;
}

async fn timeout<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(limit, work).await.map_err(|_| Failure::BodyTimeout)
}

fn json(bytes: &[u8]) -> Result<Input, Failure> {
    serde_json::from_slice(bytes).map(Input::Json).map_err(|_| Failure::BadJson)
}

fn form(bytes: &[u8]) -> Result<Input, Failure> {
    let pairs = query::pairs(bytes).take(MAX_ARGUMENTS + 1);
    let texts = pairs.map(|(name, value)| Ok((text(name)?, Value::String(text(value)?))));
    bounded(texts.collect::<Result<_, Failure>>()?)
}

fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| Failure::FormNotUtf8)
}

async fn multipart(bytes: Bytes, boundary: Option<String>) -> Result<Input, Failure> {
    if bytes.is_empty() {
        return Ok(Input::nothing());
    }
    let boundary = boundary.ok_or(Failure::BadForm)?;
    let whole = futures::stream::iter([Ok::<_, Infallible>(bytes)]);
    let mut parts = multer::Multipart::new(whole, boundary);
    let mut pairs = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(|_| Failure::BadForm)? {
        let is_json = part.content_type().is_some_and(|media_type| media_type.essence_str() == "application/json");
        if part.headers().get(CONTENT_DISPOSITION).is_some_and(|value| std::str::from_utf8(value.as_bytes()).is_err()) {
            return Err(Failure::FormNotUtf8);
        }
        let Some(name) = part.name().map(str::to_owned) else { continue };
        let content = part.bytes().await.map_err(|_| Failure::BadForm)?;
        let value = if is_json {
            serde_json::from_slice(&content).map_err(|_| Failure::BadJson)?
        } else {
            Value::String(text(content.to_vec())?)
        };
        pairs.push((name, value));
        if pairs.len() > MAX_ARGUMENTS {
            break;
        }
    }
    bounded(pairs)
}

fn bounded(pairs: Vec<(String, Value)>) -> Result<Input, Failure> {
    if pairs.len() > MAX_ARGUMENTS { Err(Failure::TooManyArguments) } else { Ok(Input::Form(pairs)) }
}
