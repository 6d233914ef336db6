//! Step On's authorization page (RFC 6749 §4.1, steps B and C).
//!
//! 1. The application and its redirect URI are checked before anything is shown; if they are invalid,
//!    the response is a page, never a redirect.
//! 2. The user logs in. There are three users, and no passwords.
//! 3. The user sees which application requests what, and allows or denies it.
//! 4. If allowed, Step On has the gateway issue the code: it authenticates with the provision key and
//!    names the user, neither of which the browser ever sees. The gateway returns the address to
//!    redirect the browser to.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use reqwest::Client;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::browser_session::{Session, Sessions};
use crate::page::{Brand, Page, see_other};

use super::application::{Applications, Checked, Refusal};
use super::step_counts::USERS;

/// State shared by the page's handlers.
pub(super) struct Context {
    pub(super) applications: Applications,
    pub(super) authorize: Url,
    pub(super) provision_key: String,
    pub(super) client: Client,
    pub(super) sessions: Sessions<User>,
}

/// The logged-in user, if any: one of [`USERS`].
pub(super) type User = Option<&'static str>;

/// An authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3).
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    #[serde(default)]
    client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redirect_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code_challenge: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code_challenge_method: Option<String>,
}

/// Fields of the user's forms. They carry the authorization request unchanged, in `query`, and it is
/// checked again each time.
#[derive(Deserialize)]
pub(super) struct FormFields {
    form_token: String,
    query: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    decision: String,
}

/// `GET /authorize`.
pub(super) async fn ask(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    Query(request): Query<Request>,
) -> Response {
    let application = match context.check(&request).await {
        Ok(application) => application,
        Err(refusal) => return refused(&refusal),
    };
    let session = context.sessions.find(&headers).unwrap_or_else(|| context.sessions.start(None, None));
    let query = query.unwrap_or_default();
    let page = match session.value {
        None => Page::new(Brand::StepOn, "Log in to Step On", log_in_form(&session, &query)),
        Some(user) => {
            let content = consent_form(&session, user, &application, &request, &query);
            Page::new(Brand::StepOn, "Share your steps?", content).form_leads_to(&application.redirect_uri)
        }
    };
    ([(header::SET_COOKIE, context.sessions.set_cookie(&session))], page).into_response()
}

/// `POST /login`.
pub(super) async fn log_in(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
    Form(form): Form<FormFields>,
) -> Response {
    let Some(session) = context.session_of(&headers, &form) else { return stale() };
    match USERS.iter().find(|(name, _)| *name == form.user) {
        Some(&(name, _)) => context.back_to_consent(&session, Some(name), &form.query),
        None => stale(),
    }
}

/// `POST /logout`.
pub(super) async fn log_out(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
    Form(form): Form<FormFields>,
) -> Response {
    match context.session_of(&headers, &form) {
        Some(session) => context.back_to_consent(&session, None, &form.query),
        None => stale(),
    }
}

/// `POST /authorize`: Allow or Deny.
pub(super) async fn decide(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
    Form(form): Form<FormFields>,
) -> Response {
    let Some(session) = context.session_of(&headers, &form) else { return stale() };
    let (Some(user), Some(request)) = (session.value, Request::parse(&form.query)) else { return stale() };
    let application = match context.check(&request).await {
        Ok(application) => application,
        Err(refusal) => return refused(&refusal),
    };
    match form.decision.as_str() {
        "allow" => context.allow(user, &application, &request).await,
        "deny" => see_other(application.denied(request.state.as_deref()).as_str()),
        _ => stale(),
    }
}

impl Request {
    /// Parses it from its query.
    fn parse(query: &str) -> Option<Self> {
        let uri = axum::http::Uri::builder().path_and_query(format!("/authorize?{query}")).build().ok()?;
        Some(Query::<Self>::try_from_uri(&uri).ok()?.0)
    }
}

impl Context {
    async fn check(&self, request: &Request) -> Result<Checked, Refusal> {
        self.applications.check(&request.client_id, request.redirect_uri.as_deref()).await
    }

    /// The browser's session, if the form belongs to it: other sites cannot make a user's browser send it.
    fn session_of(&self, headers: &HeaderMap, form: &FormFields) -> Option<Session<User>> {
        self.sessions.find(headers).filter(|session| session.accepts(&form.form_token))
    }

    fn back_to_consent(&self, session: &Session<User>, user: User, query: &str) -> Response {
        let session = self.sessions.start(Some(session), user);
        let question = see_other(&format!("/authorize?{query}"));
        ([(header::SET_COOKIE, self.sessions.set_cookie(&session))], question).into_response()
    }

    /// Has the gateway issue a code or token, and redirects the browser with it.
    async fn allow(&self, user: &str, application: &Checked, request: &Request) -> Response {
        #[derive(Serialize)]
        struct Provision<'a> {
            #[serde(flatten)]
            request: &'a Request,
            provision_key: &'a str,
            authenticated_userid: &'a str,
        }
        #[derive(Deserialize)]
        struct Issued {
            redirect_uri: Url,
        }
        let granted = Request {
            client_id: application.client_id.clone(),
            redirect_uri: Some(application.registered_uri.clone()),
            response_type: request.response_type.clone(),
            scope: request.scope.clone(),
            state: request.state.clone(),
            code_challenge: request.code_challenge.clone(),
            code_challenge_method: request.code_challenge_method.clone(),
        };
        let provision = Provision { request: &granted, provision_key: &self.provision_key, authenticated_userid: user };
        let response = match self.client.post(self.authorize.clone()).form(&provision).send().await {
            Ok(response) => response.json::<Issued>().await,
            Err(error) => Err(error),
        };
        match response {
            Ok(issued) if application.allows_redirect_to(&issued.redirect_uri) => {
                see_other(issued.redirect_uri.as_str())
            }
            _ => failure(StatusCode::BAD_GATEWAY, "Step On could not complete your request. Nothing was shared."),
        }
    }
}

fn log_in_form(session: &Session<User>, query: &str) -> Markup {
    html! {
        form method="post" action="/login" {
            (hidden(session, query))
            fieldset class="choices" {
                legend { "Who are you?" }
                @for (index, (name, _)) in USERS.iter().enumerate() {
                    label { input type="radio" name="user" value=(name) checked[index == 0] required; span { (name) } }
                }
            }
            div class="actions" { button type="submit" { "Log in" } }
        }
    }
}

fn consent_form(session: &Session<User>, user: &str, application: &Checked, request: &Request, query: &str) -> Markup {
    let scopes: Vec<&str> = request.scope.as_deref().unwrap_or_default().split_whitespace().collect();
    html! {
        div.line { p { "You are logged in as " strong #user { (user) } "." } (switch_user(session, query)) }
        p { strong #application { (application.name) } " would like to:" }
        ul #scopes { @for scope in &scopes { li { (meaning(scope)) " (" code { (scope) } ")" } } }
        @if scopes.is_empty() { p { "It requests no permissions." } }
        p { "Afterwards you return to " strong { (application.redirect_uri.origin().ascii_serialization()) } "." }
        form method="post" action="/authorize" {
            (hidden(session, query))
            div class="actions" {
                button type="submit" name="decision" value="allow" { "Allow" }
                button.plain type="submit" name="decision" value="deny" { "Deny" }
            }
        }
    }
}

fn switch_user(session: &Session<User>, query: &str) -> Markup {
    html! {
        form method="post" action="/logout" {
            (hidden(session, query))
            button.link type="submit" { "Not you?" }
        }
    }
}

fn hidden(session: &Session<User>, query: &str) -> Markup {
    html! {
        input type="hidden" name="form_token" value=(session.form_token);
        input type="hidden" name="query" value=(query);
    }
}

fn meaning(scope: &str) -> &'static str {
    match scope {
        "user_profile" => "know your name",
        "biometric" => "know your height and weight",
        "step_counts" => "see how many steps you took",
        _ => "use something that Step On does not offer",
    }
}

/// A page instead of a redirect, since the redirect URI cannot be trusted.
fn refused(refusal: &Refusal) -> Response {
    let status = match refusal {
        Refusal::UnknownClient | Refusal::UnknownRedirectUri => StatusCode::BAD_REQUEST,
        Refusal::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    failure(status, &refusal.to_string())
}

fn stale() -> Response {
    failure(StatusCode::BAD_REQUEST, "This form has expired. Go back to the application and start again.")
}

fn failure(status: StatusCode, what: &str) -> Response {
    Page::new(Brand::StepOn, "That did not work", html! { p role="alert" { (what) } }).status(status).into_response()
}
