//! Sinew's contracts inside one process: the reference backend, and the one for tests.
