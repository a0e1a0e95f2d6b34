mod answers;
mod connections;
mod proxy;
mod support;
mod tls;
