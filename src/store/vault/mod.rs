//! HashiCorp Vault and OpenBao.
//!
//! The API: <https://openbao.org/api-docs/>, <https://developer.hashicorp.com/vault/api-docs>.
