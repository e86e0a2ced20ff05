//! A service account of nobody: its key was made for this file, and opens nothing.

use crate::token_service::TokenService;

const KEY: &str = include_str!("throwaway_rsa_key.pem");

/// What is asked for.
pub const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/cloud-platform"];

/// The file that one downloads from Google's console.
pub fn file(service: &TokenService) -> String {
    let file = serde_json::json!({
        "type": "service_account",
        "project_id": "example",
        "private_key_id": "throwaway",
        "private_key": KEY,
        "client_email": "nobody@example.iam.gserviceaccount.com",
        "client_id": "0",
        "token_uri": service.url(),
    });
    file.to_string()
}
