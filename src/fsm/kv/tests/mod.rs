//! Commands against a slow, obvious model, and case by case where Redis has an opinion.

mod cases;
mod conditions;
mod model;
mod random;
