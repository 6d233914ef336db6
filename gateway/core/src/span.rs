//! Spans: where a traced request waits for somebody else.
//!
//! A task that serves a traced request carries a [`Record`]; [`measured`] adds to it. Without one, which is the rule,
//! `measured` only looks for it. Spans say what was waited for and how it ended, never with which secret: attributes
//! are names of hosts, numbers and words of the program.

use std::borrow::Cow;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// No request needs more; further spans are not recorded.
const MOST: usize = 128;

tokio::task_local! {
    static CURRENT: Current;
}

#[derive(Clone)]
struct Current {
    record: Arc<Record>,
    parent: Option<usize>,
}

/// What a span stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work of this process.
    Internal,
    /// A call of another one.
    Client,
}

/// A value of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u16> for Attribute {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its name: one of few.
    pub name: &'static str,
    /// What it stands for.
    pub kind: Kind,
    /// The position in the record of the span that it is part of.
    pub parent: Option<usize>,
    /// When it began.
    pub began: Instant,
    /// When it ended; `None`: it was given up.
    pub ended: Option<Instant>,
    /// What is known of it: names of the semantic conventions.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Why it failed.
    pub error: Option<Cow<'static, str>>,
}

/// What is known once a span has ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// As [`Span::attributes`].
    pub attributes: Vec<(&'static str, Attribute)>,
    /// As [`Span::error`].
    pub error: Option<Cow<'static, str>>,
}

/// The spans of one request.
#[derive(Debug, Default)]
pub struct Record(Mutex<Vec<Span>>);

impl Record {
    /// Does what belongs to the request: [`measured`] adds to this record.
    pub async fn scope<T>(self: Arc<Self>, work: impl Future<Output = T>) -> T {
        CURRENT.scope(Current { record: self, parent: None }, work).await
    }

    /// The spans so far, in the order in which they began.
    pub fn take(&self) -> Vec<Span> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin(&self, name: &'static str, kind: Kind, parent: Option<usize>) -> Option<usize> {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let position = spans.len();
        let began = Instant::now();
        let span = Span { name, kind, parent, began, ended: None, attributes: Vec::new(), error: None };
        (position < MOST).then(|| spans.push(span)).map(|()| position)
    }

    fn end(&self, position: usize, ended: Ended) {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(span) = spans.get_mut(position) {
            span.ended = Some(Instant::now());
            (span.attributes, span.error) = (ended.attributes, ended.error);
        }
    }
}

/// Does `work`, as a span of the request that waits for it, if that is traced; `describe` is asked only then.
pub async fn measured<T>(
    name: &'static str,
    kind: Kind,
    work: impl Future<Output = T>,
    describe: impl FnOnce(&T) -> Ended,
) -> T {
    let Ok(current) = CURRENT.try_with(Clone::clone) else { return work.await };
    let Some(position) = current.record.begin(name, kind, current.parent) else { return work.await };
    let inner = Current { parent: Some(position), ..current.clone() };
    let done = CURRENT.scope(inner, work).await;
    current.record.end(position, describe(&done));
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(_: &u8) -> Ended {
        Ended { attributes: vec![("server.port", Attribute::from(80_u16))], error: Some("timeout".into()) }
    }

    #[tokio::test]
    async fn spans_are_recorded_below_each_other_for_a_traced_request_alone() {
        let work = || async {
            let inner = measured("inner", Kind::Client, async { 7 }, failed);
            measured("outer", Kind::Internal, inner, |_| Ended::default()).await
        };
        assert_eq!(work().await, 7);
        let record = Arc::new(Record::default());
        assert_eq!(Arc::clone(&record).scope(work()).await, 7);
        let spans = record.take();
        let seen: Vec<_> =
            spans.iter().map(|span| (span.name, span.kind, span.parent, span.error.as_deref())).collect();
        assert_eq!(seen, [("outer", Kind::Internal, None, None), ("inner", Kind::Client, Some(0), Some("timeout"))]);
        assert!(spans.iter().all(|span| span.ended.is_some_and(|ended| ended >= span.began)));
        assert_eq!(spans[1].attributes, [("server.port", Attribute::Number(80))]);
    }

    #[tokio::test]
    async fn a_request_has_a_bounded_number_of_spans() {
        let record = Arc::new(Record::default());
        let work = async {
            for _ in 0..MOST + 5 {
                measured("one", Kind::Internal, async {}, |()| Ended::default()).await;
            }
        };
        Arc::clone(&record).scope(work).await;
        assert_eq!(record.take().len(), MOST);
    }
}
