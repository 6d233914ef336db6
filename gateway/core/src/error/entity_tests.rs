use std::time::Duration;

use super::*;

const ID: Uuid = Uuid::from_u128(0x6f96_19ff_8b86_d011_b42d_00cf_4fc9_64ff);
const TEXT: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";

#[test]
fn each_error_has_its_status_and_body() {
    let unique = |field, value: &str| Key::Unique { field, value: value.to_owned() };
    let plugin = vec![
        ("name", json!("oauth2")),
        ("route", json!({"id": TEXT})),
        ("service", Value::Null),
        ("consumer", Value::Null),
    ];
    let resolved = r#"the foreign key cannot be resolved with '{name="zz"}' for an existing 'services' entity"#;
    let options = vec![("tags", "cannot be null".to_owned())];
    let table = [
        (
            DaoError::InvalidPrimaryKey,
            400,
            json!({
                "code": 1, "name": "invalid primary key", "fields": {"id": "expected a valid UUID"},
                "message": r#"invalid primary key: '{id="expected a valid UUID"}'"#,
            }),
        ),
        (
            DaoError::Schema(Violations::of_field("host", "required field missing")),
            400,
            json!({
                "code": 2, "name": "schema violation", "fields": {"host": "required field missing"},
                "message": "schema violation (host: required field missing)",
            }),
        ),
        (
            DaoError::PrimaryKey { id: ID },
            400,
            json!({
                "code": 3, "name": "primary key violation", "fields": {"id": TEXT},
                "message": format!(r#"primary key violation on key '{{id="{TEXT}"}}'"#),
            }),
        ),
        (
            DaoError::ForeignMissing { field: "service", target: "services", id: ID },
            400,
            json!({
                "code": 4, "name": "foreign key violation", "fields": {"service": {"id": TEXT}},
                "message": format!(
                    r#"the foreign key '{{id="{TEXT}"}}' does not reference an existing 'services' entity."#
                ),
            }),
        ),
        (
            DaoError::Referenced { by: "routes", target: "services" },
            400,
            json!({
                "code": 4, "name": "foreign key violation", "fields": {"@referenced_by": "routes"},
                "message": "an existing 'routes' entity references this 'services' entity",
            }),
        ),
        (
            DaoError::Listed { by: "services", by_id: ID, target: "ca_certificates", id: ID },
            400,
            json!({
                "code": 19, "name": "referenced by others",
                "message": format!("ca certificate {TEXT} is still referenced by services (id = {TEXT})"),
            }),
        ),
        (
            DaoError::Unique { fields: vec![("username", json!("bob"))] },
            409,
            json!({
                "code": 5, "name": "unique constraint violation", "fields": {"username": "bob"},
                "message": r#"UNIQUE violation detected on '{username="bob"}'"#,
            }),
        ),
        (
            DaoError::Unique { fields: plugin },
            409,
            json!({
                "code": 5, "name": "unique constraint violation",
                "fields": {"name": "oauth2", "route": {"id": TEXT}, "service": null, "consumer": null},
                "message": format!(
                    r#"UNIQUE violation detected on '{{consumer=null,name="oauth2",route={{id="{TEXT}"}},service=null}}'"#
                ),
            }),
        ),
        (
            DaoError::NotFound { key: Key::Id(ID) },
            404,
            json!({
                "code": 6, "name": "not found", "fields": {"id": TEXT},
                "message": format!(r#"could not find the entity with primary key '{{id="{TEXT}"}}'"#),
            }),
        ),
        (
            DaoError::NotFound { key: unique("username", "bob") },
            404,
            json!({
                "code": 6, "name": "not found", "fields": {"username": "bob"},
                "message": r#"could not find the entity with '{username="bob"}'"#,
            }),
        ),
        (
            DaoError::InvalidOffset { offset: "x".to_owned(), why: "bad base64 encoding" },
            400,
            json!({
                "code": 7, "name": "invalid offset", "message": "'x' is not a valid offset: bad base64 encoding",
            }),
        ),
        (
            DaoError::InvalidSize { why: "size must be a number" },
            400,
            json!({"code": 9, "name": "invalid size", "message": "size must be a number"}),
        ),
        (
            DaoError::InvalidUnique { field: "name", why: "length must be at least 1".to_owned() },
            400,
            json!({"code": 10, "name": "invalid unique name", "message": "length must be at least 1"}),
        ),
        (
            DaoError::InvalidOptions { options },
            400,
            json!({
                "code": 11, "name": "invalid options", "message": "invalid option (tags: cannot be null)",
                "options": {"tags": "cannot be null"},
            }),
        ),
        (
            DaoError::Unsupported { kind: "tags" },
            405,
            json!({"code": 12, "name": "operation unsupported", "message": "cannot write 'tags' entities"}),
        ),
        (
            DaoError::WithoutDatabase { operation: "create or update", kind: "routes", by: None },
            405,
            json!({
                "code": 12, "name": "operation unsupported",
                "message": "cannot create or update 'routes' entities when not using a database",
            }),
        ),
        (
            DaoError::WithoutDatabase { operation: "remove", kind: "routes", by: Some("name") },
            405,
            json!({
                "code": 12, "name": "operation unsupported",
                "message": "cannot remove 'routes' entities by 'name' when not using a database",
            }),
        ),
        (
            DaoError::ForeignUnresolved {
                field: "service",
                target: "services",
                by: "name".to_owned(),
                value: "zz".to_owned(),
            },
            400,
            json!({
                "code": 13, "name": "foreign keys unresolved", "fields": {"service": {"name": resolved}},
                "message": format!("foreign key unresolved (service.name: {resolved})"),
            }),
        ),
        (
            DaoError::Store(StoreError::Corrupt { kind: "routes", what: "paths" }),
            500,
            json!({"message": "An unexpected error occurred"}),
        ),
        (
            DaoError::Store(StoreError::Busy(Duration::from_secs(1))),
            503,
            json!({"message": "An unexpected error occurred"}),
        ),
    ];
    for (error, status, body) in table {
        assert_eq!((error.status(), error.to_json()), (status, body));
    }
}
