/// Reads a number as Prometheus does. `None` when it is not one.
pub fn parse_float(_text: &[u8]) -> Option<f64> {
    unimplemented!()
}
