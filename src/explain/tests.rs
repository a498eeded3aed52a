//! Checks the text of explanations.
