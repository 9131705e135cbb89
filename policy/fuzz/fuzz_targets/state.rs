#![no_main]

#[path = "../state_property.rs"]
mod state_property;

libfuzzer_sys::fuzz_target!(|text: &str| {
    state_property::state(text);
});
