//! Implicit grant (RFC 6749 §4.2): the token goes straight into the redirect, without a refresh
//! token (§4.2.2).

use crate::entity::credential::Credential;
use crate::error::Error;
use crate::grant::{Authorization, Grantor, Refresh};
use crate::issuer::Issued;

/// The whole grant; its checks are those of the authorization endpoint.
pub async fn issue(grantor: &Grantor<'_>, client: &Credential, authorization: Authorization) -> Result<Issued, Error> {
    grantor.insert(grantor.draft(client, authorization, Refresh::Without, None).await?).await
}
