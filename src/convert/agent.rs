use super::input::Input;
use super::operator::Options;
use super::output::Config;
use super::remark::Remark;
pub(super) fn convert(_i: &[Input], _o: &Options, _r: &mut Vec<Remark>) -> Config {
    Config::default()
}
