//! Implicit grant (RFC 6749 §4.2): the token goes straight into the redirect, without a refresh
//! token (§4.2.2).

use crate::error::Error;
use crate::grant::{Authorization, Grantor, Refresh};
use crate::issuer::Issued;

/// The whole grant; its checks are those of the authorization endpoint.
pub async fn issue(grantor: &Grantor<'_>, authorization: Authorization) -> Result<Issued, Error> {
    grantor.insert(grantor.draft(authorization, Refresh::Without, None)?).await
}
