//! The engine: the main thread's event loop, one worker thread a secret, schedules, backoff, state.
