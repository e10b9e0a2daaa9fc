//! Json and MessagePack payloads for Sinew's messages.
