use super::Show;
pub(super) fn of(_show: &Show) -> String {
    String::new()
}
