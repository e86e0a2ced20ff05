//! What people would use otherwise, each in a file of its own, and used as its authors mean it to
//! be: what it keeps is kept, what may be shared is shared.

pub mod aws;
pub mod azure;
mod bearer;
pub mod by_hand;
mod endpoint;
pub mod gcp_auth;
pub mod gears;
pub mod google;
pub mod kube;
pub mod middleware;
pub mod moka;
pub mod mutex;
pub mod rwlock;
mod service_account;
pub mod yup;
