//! The document and the router are one.

use std::collections::BTreeSet;

use tollgate_core::entity::{target, upstream};

use super::*;
use crate::path;
use crate::resource::Resource;

/// Every text that the router may compare a segment with: what its source quotes, and what the kinds say.
fn words(state: &AdminState) -> BTreeSet<String> {
    let source = include_str!("../resource.rs");
    let quoted = source.split('"').skip(1).step_by(2).map(str::to_owned);
    let kinds = state.registry.collections().map(|collection| collection.kind());
    let of_kinds = kinds.flat_map(|kind| {
        let fields = kind.foreign_fields().map(|(field, _)| field.name);
        [kind.name, kind.segment, kind.nested_segment].into_iter().chain(fields).collect::<Vec<_>>()
    });
    let words = quoted.chain(of_kinds.map(str::to_owned)).chain(["any".to_owned()]);
    words.filter(|word| !word.is_empty() && !word.contains([' ', '/', '{'])).collect()
}

fn fits(template: &[String], segments: &[String]) -> bool {
    let fit = |(part, segment): (&String, &String)| part.starts_with('{') || part == segment;
    template.len() == segments.len() && template.iter().zip(segments).all(fit)
}

/// The methods of a path in the document: of the template with the fewest variable parts, as OpenAPI has it.
fn described(templates: &[(Vec<String>, BTreeSet<String>)], segments: &[String]) -> Option<BTreeSet<String>> {
    let fitting = templates.iter().filter(|(template, _)| fits(template, segments));
    let variable = |template: &[String]| template.iter().map(|part| part.starts_with('{')).collect::<Vec<_>>();
    fitting.min_by_key(|(template, _)| variable(template)).map(|(_, methods)| methods.clone())
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_other_way_round() {
    let kinds = vec![upstream::kind(), target::kind()];
    let admin = Admin::with_kinds(kinds);
    let state = admin.0.as_ref();
    let (status, document) = admin.get("/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let templates: Vec<(Vec<String>, BTreeSet<String>)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(template, item)| {
            let methods = item.as_object().unwrap().keys().filter(|name| *name != "parameters");
            (path::segments(template).unwrap(), methods.map(|name| name.to_ascii_uppercase()).collect())
        })
        .collect();
    let listed: BTreeSet<&String> = document["paths"].as_object().unwrap().keys().collect();
    let (_, endpoints) = admin.get("/endpoints").await;
    let endpoints: BTreeSet<String> = serde_json::from_value(endpoints["data"].clone()).unwrap();
    assert_eq!(listed, endpoints.iter().collect(), "every path of /endpoints resolves");

    let words = words(state);
    assert!(words.contains("explain") && words.contains("guards") && words.len() > 40, "{words:?}");
    let mut level: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    for _ in 0..=6 {
        for segments in &level {
            let served = Resource::of(state, segments)
                .map(|resource| resource.own_methods().iter().map(ToString::to_string).collect::<BTreeSet<_>>());
            assert_eq!(described(&templates, segments), served, "/{}", segments.join("/"));
            seen += usize::from(served.is_some());
        }
        // Longer paths are looked at where a path of the document begins so, with one text for its variable parts.
        let is_start = |template: &[String], segments: &[String]| {
            let is_part =
                |(part, segment): (&String, &String)| part == segment || part.starts_with('{') && segment == "any";
            template.len() >= segments.len() && template.iter().zip(segments).all(is_part)
        };
        let starts = level.iter().filter(|segments| templates.iter().any(|(template, _)| is_start(template, segments)));
        level = starts
            .flat_map(|segments| {
                words.iter().map(move |word| [segments.as_slice(), std::slice::from_ref(word)].concat())
            })
            .collect();
    }
    assert!(seen > templates.len(), "{seen}");
}
