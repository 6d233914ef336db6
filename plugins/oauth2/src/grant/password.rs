//! Resource owner password credentials grant (RFC 6749 §4.3).
//!
//! The gateway never sees the password: the caller has verified it, authenticates with the provision key and names
//! the user. The rest is as in other grants: the scope, and a token with a refresh token.

use crate::client::AuthenticatedClient;
use crate::error::{Error, Refusal};
use crate::grant::{Authorization, Grantor, Refresh, userid};
use crate::issuer::Issued;
use crate::parameters::Parameters;
use crate::resource;
use crate::scope;

/// The whole grant.
pub async fn exchange(
    grantor: &Grantor<'_>,
    client: &AuthenticatedClient,
    parameters: &Parameters,
) -> Result<Issued, Error> {
    grantor.require_provision_key(parameters)?;
    let userid = userid(parameters)?;
    let asked = parameters.get("scope");
    let scope = scope::granted_to(client.credential(), grantor.config, asked)?;
    grantor.count("scope_syntax", |config| scope::granted(config, asked));
    // `tollgate check` refuses this grant on profile bcp.
    grantor.count("enable_password_grant", |_| Err::<(), _>(Refusal::GrantType));
    let named = grantor.scope_to_name(asked, scope.as_deref());
    let credential_id = client.credential().id;
    let binding = resource::binding(grantor.config, parameters, None)?;
    let authorization = Authorization { credential_id, authenticated_userid: Some(userid), scope, binding };
    let mut draft = grantor.draft(client.credential(), authorization, Refresh::With, None).await?;
    draft.issued.scope = named;
    grantor.insert(draft).await
}
