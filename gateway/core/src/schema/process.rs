//! From a client's input to the stored document (gateway.md §2.2): shorthands are expanded, the record is
//! completed and validated, and its secrets are rewritten, in this order.
//!
//! Nothing here accesses a store: references by unique name are resolved before; uniqueness and the existence
//! of references are checked afterwards.

use serde_json::{Map, Value};

use crate::schema::entity_check::{all_or_none, is_set};
use crate::schema::phase::Phase;
use crate::schema::{Auto, Derivation, Document, Makers, Salted, Schema, Transformation, Type, Violations};

/// What a POST or PUT stores.
#[derive(Debug, Clone, PartialEq)]
pub struct Insertion {
    /// The document.
    pub document: Document,
    /// Secrets that the gateway has generated and rewritten, without being asked for either: nobody could know them if
    /// the response did not show them.
    pub shown_once: Map<String, Value>,
    /// What the client has perhaps not meant.
    pub warnings: Vec<String>,
}

impl Schema {
    /// The document of a POST or PUT: every field present, missing values null.
    pub fn process_insert(&self, input: Document, makers: &Makers<'_>) -> Result<Document, Violations> {
        Ok(self.insertion(input, makers)?.document)
    }

    /// The same, with what only its response shows.
    ///
    /// # Errors
    /// The document violates the schema.
    pub fn insertion(&self, input: Document, makers: &Makers<'_>) -> Result<Insertion, Violations> {
        let warnings = self.warnings_of_unknown_secrets(&input);
        let mut document = self.expand(input);
        let is_left_open = |name| !document.contains_key(name);
        let generated = |rewrite: &&Transformation| is_left_open(rewrite.input) && is_left_open(rewrite.needs);
        let generated: Vec<&str> = self.transformations.iter().filter(generated).map(|rewrite| rewrite.needs).collect();
        self.complete(&mut document, makers);
        let mut found = self.faults(&document, Phase::Insert);
        for transformation in &self.transformations {
            let asked = document.get(transformation.input) == Some(&Value::Bool(true));
            if asked && !is_set(document.get(transformation.needs)) && !found.has(transformation.needs) {
                found.entity(transformation.incomplete());
            }
        }
        found.into_result()?;
        let clear: Vec<(&str, Option<Value>)> =
            generated.into_iter().map(|name| (name, document.get(name).cloned())).collect();
        for transformation in &self.transformations {
            transformation.apply(&mut document);
        }
        for salted in &self.salted {
            salted.apply(&mut document);
        }
        self.derive(&mut document);
        let rewritten = clear.into_iter().filter(|(name, clear)| document.get(*name) != clear.as_ref());
        let shown_once = rewritten.filter_map(|(name, clear)| Some((name.to_owned(), clear?))).collect();
        Ok(Insertion { document, shown_once, warnings })
    }

    /// The document of an entity whose secrets were rewritten before, such as one that was exported: nothing is
    /// rewritten again.
    ///
    /// # Errors
    /// The document violates the schema.
    pub fn process_rewritten(&self, input: Document, makers: &Makers<'_>) -> Result<Document, Violations> {
        let mut document = self.expand(input);
        self.complete(&mut document, makers);
        self.faults(&document, Phase::Insert).into_result()?;
        self.derive(&mut document);
        Ok(document)
    }

    /// The automatic fields, other than the id, for which a document has no value, as paths through records: those
    /// that an insertion fills in.
    pub fn left_to_make(&self, input: &Map<String, Value>) -> Vec<Vec<&'static str>> {
        let mut found = Vec::new();
        for field in &self.fields {
            let given = input.get(field.name);
            let is_null = given.is_none_or(Value::is_null);
            match (&field.auto, &field.ty) {
                (None | Some(Auto::Uuid), Type::Record(nested)) => {
                    let nothing = Map::new();
                    let below = nested.left_to_make(given.and_then(Value::as_object).unwrap_or(&nothing));
                    found.extend(below.into_iter().map(|path| [vec![field.name], path].concat()));
                }
                (Some(Auto::CreatedAt | Auto::UpdatedAt), _) if is_null => found.push(vec![field.name]),
                (Some(Auto::RandomString), _) if given.is_none() => found.push(vec![field.name]),
                _ => {}
            }
        }
        found
    }

    /// The document of a PATCH: records are merged key by key, everything else is replaced, null clears. The
    /// id does not change.
    pub fn process_update(
        &self,
        stored: &Document,
        patch: Document,
        makers: &Makers<'_>,
    ) -> Result<Document, Violations> {
        let patch = self.expand(patch);
        let mut document = Document::from(self.merged(stored, &patch));
        for field in &self.fields {
            match field.auto {
                Some(Auto::UpdatedAt | Auto::UpdatedAtMillis) => drop(document.remove(field.name)),
                Some(Auto::Uuid) => {
                    drop(stored.get(field.name).map(|id| document.insert(field.name.to_owned(), id.clone())))
                }
                _ => {}
            }
        }
        self.complete(&mut document, makers);
        // Unchanged stored values are not validated again: an older version, or the gateway itself, may have
        // stored them.
        let judged = |name: &str| patch.contains_key(name) || document.get(name) != stored.get(name);
        let mut found = self.faults_where(&document, Phase::Update, judged);
        let rewrites: Vec<Rewrite> = self
            .transformations
            .iter()
            .map(|transformation| transformation.on_update(stored, &patch, &document))
            .collect();
        for (transformation, rewrite) in self.transformations.iter().zip(&rewrites) {
            let judged = !found.has(transformation.input) && !found.has(transformation.needs);
            if *rewrite == Rewrite::Refused && judged {
                found.entity(transformation.incomplete());
            }
        }
        for salted in &self.salted {
            if !found.has(salted.field) && !found.has(salted.salt) && salted.is_incomplete(stored, &patch) {
                found.entity(all_or_none(&[salted.field, salted.salt_id]));
            }
        }
        found.into_result()?;
        for (transformation, rewrite) in self.transformations.iter().zip(rewrites) {
            if rewrite == Rewrite::Due {
                transformation.apply(&mut document);
            } else {
                transformation.apply_to_companion(&mut document);
            }
        }
        for salted in self.salted.iter().filter(|salted| is_set(patch.get(salted.field))) {
            salted.apply(&mut document);
        }
        self.derive(&mut document);
        Ok(document)
    }

    fn derive(&self, document: &mut Document) {
        for Derivation { from, field, derive } in &self.derivations {
            let value = document.text(from).and_then(derive).map_or(Value::Null, Value::String);
            document.insert((*field).to_owned(), value);
        }
    }

    /// Expands shorthands. Their fields override fields given alongside; an optional field that a shorthand
    /// leaves null keeps the given value. A shorthand of the wrong type is kept, so that it is reported.
    fn expand(&self, mut input: Document) -> Document {
        for shorthand in &self.shorthands {
            match input.remove(shorthand.field.name) {
                None | Some(Value::Null) => {}
                Some(value) => match shorthand.field.validate_alone(&value) {
                    Ok(()) => {
                        for (name, value) in (shorthand.expand)(&value) {
                            let is_optional = self.field(&name).is_none_or(|field| !field.required);
                            let is_left = value.is_null() && is_optional && input.contains_key(&name);
                            if !is_left {
                                input.insert(name, value);
                            }
                        }
                    }
                    Err(_) => drop(input.insert(shorthand.field.name.to_owned(), value)),
                },
            }
        }
        if let Some(adjust) = self.adjust {
            adjust(&mut input);
        }
        input
    }

    /// The stored record with the patch applied. Stored fields that the schema no longer has are dropped;
    /// unknown fields of the patch are kept, so that they are reported.
    fn merged(&self, stored: &Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
        let known = stored.iter().filter(|(name, _)| self.field(name).is_some());
        let mut merged: Map<String, Value> = known.map(|(name, value)| (name.clone(), value.clone())).collect();
        for (name, value) in patch {
            let nested = match (self.field(name).map(|field| &field.ty), merged.get(name), value) {
                (Some(Type::Record(schema)), Some(Value::Object(old)), Value::Object(new)) => {
                    Some(Value::Object(schema.merged(old, new)))
                }
                _ => None,
            };
            merged.insert(name.clone(), nested.unwrap_or_else(|| value.clone()));
        }
        self.drop_outdated_defaults(stored, patch, &mut merged);
        merged
    }

    /// A stored value that was a dependent default is filled in again when the field that decides has changed.
    fn drop_outdated_defaults(
        &self,
        stored: &Map<String, Value>,
        patch: &Map<String, Value>,
        merged: &mut Map<String, Value>,
    ) {
        let decided = self.dependent_defaults.iter().filter(|rule| stored.get(rule.field) != merged.get(rule.field));
        let names: Vec<&str> = decided.flat_map(|rule| rule.defaults.iter().map(|(name, _)| *name)).collect();
        for field in self.fields.iter().filter(|field| names.contains(&field.name)) {
            let was_default = stored.get(field.name) == self.default_in(stored, field);
            if was_default && !patch.contains_key(field.name) {
                merged.remove(field.name);
            }
        }
    }
}

/// How an update affects a rewritten value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rewrite {
    /// The stored value is kept, rewritten or not.
    None,
    /// The new value is rewritten if requested.
    Due,
    /// Only one of the two fields was given.
    Refused,
}

impl Transformation {
    fn incomplete(&self) -> String {
        all_or_none(&[self.input, self.needs])
    }

    fn on_update(&self, stored: &Document, patch: &Document, merged: &Document) -> Rewrite {
        let asked = merged.get(self.input) == Some(&Value::Bool(true));
        let same_value = patch.get(self.needs).is_some() && patch.get(self.needs) == stored.get(self.needs);
        if same_value && merged.get(self.input) == stored.get(self.input) {
            return Rewrite::None;
        }
        match (is_set(patch.get(self.input)), is_set(patch.get(self.needs))) {
            (true, true) => Rewrite::Due,
            // A cleared value needs no rewriting.
            (false, false) if !(asked && patch.contains_key(self.needs)) => Rewrite::None,
            _ => Rewrite::Refused,
        }
    }

    fn apply(&self, document: &mut Document) {
        if document.get(self.input) != Some(&Value::Bool(true)) {
            return;
        }
        if let Some(Value::String(value)) = document.get_mut(self.needs) {
            *value = (self.on_write)(value);
        }
        self.apply_to_companion(document);
    }

    fn apply_to_companion(&self, document: &mut Document) {
        let Some(companion) = &self.companion else { return };
        if document.get(self.input) != Some(&Value::Bool(true)) {
            return;
        }
        if let Some(Value::String(value)) = document.get_mut(companion.field)
            && !(companion.is_rewritten)(value)
        {
            *value = (self.on_write)(value);
        }
    }
}

impl Salted {
    fn is_incomplete(&self, stored: &Document, patch: &Document) -> bool {
        let same = self.salt_of(patch).is_some() && self.salt_of(patch) == self.salt_of(stored);
        !same && is_set(patch.get(self.field)) != self.salt_of(patch).is_some()
    }

    fn salt_of<'d>(&self, document: &'d Document) -> Option<&'d str> {
        document.get(self.salt)?.get("id")?.as_str()
    }

    fn apply(&self, document: &mut Document) {
        let Some(salt) = self.salt_of(document).map(str::to_owned) else { return };
        if let Some(Value::String(value)) = document.get_mut(self.field) {
            *value = (self.on_write)(value, &salt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::random::SystemRandom;
    use crate::schema::{Companion, EntityCheck, Field};
    use serde_json::json;

    fn document(value: Value) -> Document {
        Document::try_from(value).unwrap()
    }

    fn insert(schema: &Schema, input: Value) -> Result<Value, Value> {
        let clock = ManualClock::at(1000);
        let makers = Makers { clock: &clock, random: &SystemRandom };
        schema.process_insert(document(input), &makers).map(Value::from).map_err(|found| Value::Object(found.fields))
    }

    fn update(schema: &Schema, stored: &Value, patch: Value) -> Result<Value, Value> {
        let clock = ManualClock::at(2000);
        let makers = Makers { clock: &clock, random: &SystemRandom };
        let updated = schema.process_update(&document(stored.clone()), document(patch), &makers);
        updated.map(Value::from).map_err(|found| Value::Object(found.fields))
    }

    fn credential() -> Schema {
        Schema::new(vec![
            Field::string("client_secret").auto(Auto::RandomString),
            Field::boolean("hash_secret", false),
            Field::string("name"),
        ])
        .transformation(Transformation {
            input: "hash_secret",
            needs: "client_secret",
            on_write: |clear| format!("hashed:{clear}"),
            companion: None,
        })
    }

    #[test]
    fn a_companion_is_rewritten_once_whenever_secrets_are() {
        let mut schema = credential();
        schema.transformations[0].companion =
            Some(Companion { field: "name", is_rewritten: |value| value.starts_with("hashed:") });
        let stored = insert(&schema, json!({"name": "old"})).unwrap();
        assert_eq!(stored["name"], "old", "no secret is hashed");
        let stored = insert(&schema, json!({"client_secret": "s", "hash_secret": true, "name": "old"})).unwrap();
        assert_eq!((&stored["client_secret"], &stored["name"]), (&json!("hashed:s"), &json!("hashed:old")));
        for (name, expected) in [("older", "hashed:older"), ("hashed:older", "hashed:older")] {
            assert_eq!(update(&schema, &stored, json!({"name": name})).unwrap()["name"], expected);
        }
    }

    #[test]
    fn a_generated_secret_that_nobody_asked_to_hash_is_shown_once() {
        let makers = Makers { clock: &ManualClock::at(0), random: &SystemRandom };
        let schema = credential().default_of("hash_secret", json!(true));
        let insertion = |input: Value| schema.insertion(Document::try_from(input).unwrap(), &makers).unwrap();
        let Insertion { document, shown_once, .. } = insertion(json!({}));
        let clear = shown_once["client_secret"].as_str().unwrap();
        assert_eq!(document["client_secret"], format!("hashed:{clear}"));
        for given in [json!({"hash_secret": true}), json!({"client_secret": "s"}), json!({"hash_secret": false})] {
            assert_eq!(insertion(given.clone()).shown_once, Map::new(), "{given}");
        }
    }

    #[test]
    fn a_default_may_depend_on_another_field_and_follows_it() {
        let schema = Schema::new(vec![Field::record(
            "config",
            Schema::new(vec![
                Field::string("profile"),
                Field::boolean("hide", false),
                Field::string("pkce").default("lax"),
            ])
            .defaults_where(
                "profile",
                json!("bcp"),
                vec![("hide", json!(true)), ("pkce", json!("strict"))],
            ),
        )]);
        let of = |profile: Value, hide: bool, pkce: &str| json!({"profile": profile, "hide": hide, "pkce": pkce});
        let created = |config: Value| insert(&schema, json!({"config": config})).unwrap();
        assert_eq!(created(json!({}))["config"], of(json!(null), false, "lax"));
        assert_eq!(created(json!({"profile": "bcp"}))["config"], of(json!("bcp"), true, "strict"));
        assert_eq!(created(json!({"profile": "bcp", "hide": false}))["config"], of(json!("bcp"), false, "strict"));
        let patched = |stored: &Value, config: Value| update(&schema, stored, json!({"config": config})).unwrap();
        let plain = created(json!({"pkce": "none"}));
        let moved = patched(&plain, json!({"profile": "bcp"}));
        assert_eq!(moved["config"], of(json!("bcp"), true, "none"), "what was chosen stays");
        assert_eq!(patched(&moved, json!({"profile": null}))["config"], of(json!(null), false, "none"));
        assert_eq!(
            patched(&plain, json!({"profile": "bcp", "hide": false}))["config"],
            of(json!("bcp"), false, "none")
        );
        assert_eq!(patched(&moved, json!({"pkce": "lax"}))["config"], of(json!("bcp"), true, "lax"));
    }

    const TOGETHER: &str = "all or none of these fields must be set: 'hash_secret', 'client_secret'";

    #[test]
    fn an_insert_hashes_the_secret_if_requested() {
        let schema = credential();
        let plain = insert(&schema, json!({"client_secret": "s"}));
        assert_eq!(plain, Ok(json!({"client_secret": "s", "hash_secret": false, "name": null})));
        let hashed = insert(&schema, json!({"client_secret": "s", "hash_secret": true}));
        assert_eq!(hashed, Ok(json!({"client_secret": "hashed:s", "hash_secret": true, "name": null})));
        let made = insert(&schema, json!({"hash_secret": true}));
        assert!(made.is_ok_and(|made| made["client_secret"].as_str().is_some_and(|text| text.len() == 39)));
        let nothing = insert(&schema, json!({"client_secret": null, "hash_secret": true}));
        assert_eq!(nothing, Err(json!({"@entity": [TOGETHER]})));
        let unset = insert(&schema, json!({"hash_secret": null}));
        assert_eq!(unset, Err(json!({"hash_secret": "required field missing"})));
    }

    #[test]
    fn an_update_takes_both_secret_fields_or_neither() {
        let schema = credential();
        let stored = json!({"client_secret": "hashed:s", "hash_secret": true, "name": null});
        let refused = Err(json!({"@entity": [TOGETHER]}));
        for patch in [
            json!({"client_secret": "t"}),
            json!({"hash_secret": true}),
            json!({"hash_secret": false}),
            json!({"client_secret": null}),
            json!({"client_secret": null, "hash_secret": true}),
        ] {
            assert_eq!(update(&schema, &stored, patch.clone()), refused, "{patch}");
        }
        let table = [
            (
                json!({"client_secret": "hashed:s"}),
                json!({"client_secret": "hashed:s", "hash_secret": true, "name": null}),
            ),
            (
                json!({"client_secret": "hashed:s", "hash_secret": true}),
                json!({"client_secret": "hashed:s", "hash_secret": true, "name": null}),
            ),
            (
                json!({"client_secret": "t", "hash_secret": true}),
                json!({"client_secret": "hashed:t", "hash_secret": true, "name": null}),
            ),
            (
                json!({"client_secret": "t", "hash_secret": false}),
                json!({"client_secret": "t", "hash_secret": false, "name": null}),
            ),
            (json!({"name": "n"}), json!({"client_secret": "hashed:s", "hash_secret": true, "name": "n"})),
        ];
        for (patch, wanted) in table {
            assert_eq!(update(&schema, &stored, patch.clone()), Ok(wanted), "{patch}");
        }
    }

    #[test]
    fn hashing_a_secret_that_was_stored_plain_hashes_it_even_when_it_is_the_same() {
        let stored = json!({"client_secret": "s", "hash_secret": false, "name": null});
        let updated = update(&credential(), &stored, json!({"client_secret": "s", "hash_secret": true}));
        assert_eq!(updated, Ok(json!({"client_secret": "hashed:s", "hash_secret": true, "name": null})));
    }

    #[test]
    fn a_salted_value_is_rewritten_whenever_it_is_given_with_its_salt() {
        let schema = Schema::new(vec![
            Field::foreign("consumer", "consumers", crate::schema::OnDelete::Cascade).required(),
            Field::string("password").required(),
            Field::string("name"),
        ])
        .salted(Salted {
            field: "password",
            salt: "consumer",
            salt_id: "consumer.id",
            on_write: |clear, salt| format!("{clear}{}", &salt[..1]),
        });
        let [one, two] = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"]
            .map(|id| json!({ "id": id }));
        let stored = json!({"consumer": one, "password": "s1", "name": null});
        assert_eq!(insert(&schema, json!({"consumer": one, "password": "s"})), Ok(stored.clone()));
        let missing = Err(json!({"password": "required field missing"}));
        assert_eq!(insert(&schema, json!({"consumer": one})), missing);
        let refused = Err(json!({"@entity": ["all or none of these fields must be set: 'password', 'consumer.id'"]}));
        for (patch, outcome) in [
            (json!({"name": "n"}), Ok(json!({"consumer": one, "password": "s1", "name": "n"}))),
            (json!({"password": "t", "consumer": one}), Ok(json!({"consumer": one, "password": "t1", "name": null}))),
            (json!({"password": "t", "consumer": two}), Ok(json!({"consumer": two, "password": "t2", "name": null}))),
            (json!({"consumer": one}), Ok(stored.clone())),
            (json!({"consumer": two}), refused.clone()),
            (json!({"password": "t"}), refused),
            (json!({"password": null}), missing),
        ] {
            assert_eq!(update(&schema, &stored, patch.clone()), outcome, "{patch}");
        }
    }

    #[test]
    fn records_merge_and_lists_are_replaced() {
        let inner = Schema::new(vec![Field::integer("a").default(1).required(), Field::strings("b")]);
        let schema = Schema::new(vec![
            Field::string("id").auto(Auto::Uuid),
            Field::integer("updated_at").auto(Auto::UpdatedAt),
            Field::record("config", inner).required(),
            Field::string("name"),
        ]);
        let stored = json!({"id": "i", "updated_at": 5, "config": {"a": 7, "b": ["x", "y"], "gone": 1}, "name": "n"});
        assert_eq!(
            update(&schema, &stored, json!({"id": "other", "updated_at": 1, "config": {"b": ["z"]}, "name": null})),
            Ok(json!({"id": "i", "updated_at": 2000, "config": {"a": 7, "b": ["z"]}, "name": null}))
        );
        assert_eq!(
            update(&schema, &stored, json!({"config": {"a": null, "c": 1}, "d": 2})),
            Err(json!({"config": {"a": "required field missing", "c": "unknown field"}, "d": "unknown field"}))
        );
    }

    #[test]
    fn unchanged_stored_values_are_not_validated_again() {
        let inner = Schema::new(vec![Field::integer("a").default(1).between(0, 9).required(), Field::string("b")]);
        let schema = Schema::new(vec![
            Field::string("hint"),
            Field::record("config", inner).required(),
            Field::string("name").one_of(&["m", "n"]),
            Field::string("owner").required(),
        ]);
        let stored = json!({"hint": "", "config": {"a": 70, "b": null}, "name": "of before", "owner": null});
        let mut wanted = stored.clone();
        wanted["name"] = json!("n");
        assert_eq!(update(&schema, &stored, json!({"name": "n"})), Ok(wanted));
        for (patch, faults) in [
            (json!({"hint": ""}), json!({"hint": "length must be at least 1"})),
            (json!({"config": {"b": "c"}}), json!({"config": {"a": "value should be between 0 and 9"}})),
            (json!({"owner": null}), json!({"owner": "required field missing"})),
        ] {
            assert_eq!(update(&schema, &stored, patch.clone()), Err(faults), "{patch}");
        }
    }

    #[test]
    fn an_update_that_would_leave_nothing_is_reported_as_an_update() {
        let schema = Schema::new(vec![Field::string("a"), Field::string("b")])
            .entity_check(EntityCheck::AtLeastOneOf(&["a", "b"]));
        let text = "when updating, at least one of these fields must be non-empty: 'a', 'b'";
        assert_eq!(update(&schema, &json!({"a": "x", "b": null}), json!({"a": null})), Err(json!({"@entity": [text]})));
    }
}
