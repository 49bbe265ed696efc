//! Commands against a slow, obvious model, and case by case where Redis has an opinion.

mod cases;
mod model;
mod random;
