use vedette_model::MetricKind;

/// Writes the text format 0.0.4 into a buffer of the caller's.
#[derive(Debug)]
pub struct TextPrinter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> TextPrinter<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Starts a family: its `# HELP` (left out when `help` is empty) and `# TYPE`.
    pub fn family(&mut self, _name: &str, _kind: MetricKind, _help: &str) -> &mut Self {
        let _ = &self.out;
        unimplemented!()
    }

    /// A sample of any name, with labels in the order given.
    pub fn sample(&mut self, _name: &str, _labels: &[(&str, &str)], _value: f64) -> &mut Self {
        unimplemented!()
    }

    /// A sample whose series is already in exposition form.
    pub fn raw_sample(&mut self, _series: &[u8], _value: f64) -> &mut Self {
        unimplemented!()
    }
}
