//! Client credentials grant (RFC 6749 §4.4).
//!
//! 1. §4.4.2: a client with the provision key may name a user it acts for.
//! 2. The client is known.
//! 3. The scope can be granted.
//! 4. §4.4.3: there is no refresh token, and the token's row is removed when it expires.

use crate::client::AuthenticatedClient;
use crate::config::Config;
use crate::entity::credential::{ClientType, Credential};
use crate::error::{Error, Mode, Refusal};
use crate::grant::{Authorization, Grantor, Refresh, userid};
use crate::issuer::Issued;
use crate::parameters::Parameters;
use crate::profile::Permission;
use crate::resource;
use crate::scope;

/// All steps. An unknown client is never challenged here, however it tried to authenticate.
pub async fn exchange(
    grantor: &Grantor<'_>,
    client: Option<AuthenticatedClient>,
    parameters: &Parameters,
) -> Result<Issued, Error> {
    let userid = match parameters.get("authenticated_userid") {
        None => None,
        Some(_) => {
            grantor.require_provision_key(parameters)?;
            Some(userid(parameters)?)
        }
    };
    let client = client.ok_or(Refusal::InvalidClient(Mode::Parameters))?;
    let credential = client.credential();
    allow(grantor.config, credential)?;
    grantor.count("public_client_credentials", |config| allow(config, credential));
    let asked = parameters.get("scope");
    let scope = scope::granted_to(credential, grantor.config, asked)?;
    grantor.count("scope_syntax", |config| scope::granted(config, asked));
    let named = grantor.scope_to_name(asked, scope.as_deref());
    let binding = resource::binding(grantor.config, parameters, None)?;
    let authorization = Authorization { credential_id: credential.id, authenticated_userid: userid, scope, binding };
    let mut draft = grantor.draft(credential, authorization, Refresh::Without, None).await?;
    draft.issued.scope = named;
    grantor.insert(draft).await
}

fn allow(config: &Config, credential: &Credential) -> Result<(), Refusal> {
    let is_public = credential.client_type == ClientType::Public;
    if is_public && config.profile.public_client_credentials == Permission::Refused {
        return Err(Refusal::UnauthorizedClient);
    }
    Ok(())
}
