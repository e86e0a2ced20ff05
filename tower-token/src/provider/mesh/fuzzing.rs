//! What the fuzz targets see of Mesh's answers; see `crate::fuzzing`.

use http::{HeaderMap, StatusCode};
use zeroize::Zeroizing;

use super::answer;
use super::api::Reply;
use crate::grant::{Account, TokenResponse};
use crate::provider::transport::Answer;
use crate::secret::Secret;

/// What an answer to a refresh brings a grant of these accounts; `None` if nothing came that
/// can be kept.
pub(crate) fn mesh_answer(
    status: u16,
    body: &[u8],
    accounts: &[Account],
    sent: &Secret,
) -> Option<TokenResponse> {
    let reply = Reply::read(Answer {
        status: StatusCode::from_u16(status).ok()?,
        headers: HeaderMap::new(),
        body: Zeroizing::new(body.to_vec()),
    });
    let content = reply.into_content().ok()?;
    answer::read(content, accounts, sent, false).ok()
}
