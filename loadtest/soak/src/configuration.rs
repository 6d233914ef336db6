//! Churn of the configuration: an API with a plugin, a consumer and a credential comes, is changed, and goes.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tollgate_load::connection::Request;

use crate::load::{Link, Shared, admin, admins, proxies, request};

/// The pause between two APIs.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) async fn run(shared: Rc<Shared>) {
    let (mut proxies, mut admins) = (proxies(&shared), admins(&shared));
    for turn in 0_usize.. {
        if shared.has_ended() {
            return;
        }
        let number = turn % 2;
        if let (Some(proxy), Some(admin)) = (proxies.get_mut(number), admins.get_mut(number)) {
            let name = format!("churn-{turn}");
            for (request, through_proxy, expected) in steps(&name, &shared.upstream) {
                let link = if through_proxy { &mut *proxy } else { &mut *admin };
                send(&shared, number, link, &request, expected).await;
            }
            shared.count(|load| load.apis += 1);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The requests of one API's life: whether they go to the proxy, and which status they get.
fn steps(name: &str, upstream: &str) -> Vec<(Request, bool, u16)> {
    let write = |method, path: String, body: Value, status| (admin(method, &path, Some(&body)), false, status);
    let delete = |path: String| (admin(Method::DELETE, &path, None), false, 204);
    let guarded = || (request(Method::GET, &format!("/{name}/x"), Vec::new(), Bytes::new()), true, 401);
    let config = json!({"scopes": ["email"], "enable_client_credentials": true});
    vec![
        write(Method::POST, "/services".to_owned(), json!({"name": name, "url": upstream}), 201),
        write(Method::POST, format!("/services/{name}/plugins"), json!({"name": "oauth2", "config": config}), 201),
        write(
            Method::POST,
            format!("/services/{name}/routes"),
            json!({"name": name, "paths": [format!("/{name}")]}),
            201,
        ),
        write(Method::POST, "/consumers".to_owned(), json!({"username": name}), 201),
        write(
            Method::POST,
            format!("/consumers/{name}/oauth2"),
            json!({"name": name, "redirect_uris": ["http://a.test/"]}),
            201,
        ),
        guarded(),
        write(Method::PATCH, format!("/services/{name}"), json!({"retries": 2}), 200),
        guarded(),
        delete(format!("/consumers/{name}")),
        delete(format!("/routes/{name}")),
        delete(format!("/services/{name}")),
        (request(Method::GET, &format!("/{name}/x"), Vec::new(), Bytes::new()), true, 404),
    ]
}

/// After a step that a stopped node has not carried out, the others of that API may get another status.
async fn send(shared: &Shared, number: usize, link: &mut Link, request: &Request, expected: u16) {
    let what = format!("{} {}", request.method, request.target);
    if let Some(response) = link.send(shared, &what, request).await
        && response.status != expected
        // Only the measured node carries out all of them.
        && number == 0
    {
        shared.wrong(&format!("{what} got {} instead of {expected}", response.status));
    }
}
