//! Properties of what parses, matches, encodes and is shown, over texts made to collide.

mod errors;
mod events;
mod headers;
mod intakes;
mod names;
mod patterns;
mod subjects;
