use vedette_model::{Labels, MetadataEntry, SelectError, SelectRequest, SeriesSource, SeriesStream};

/// What the storage held at one moment. Implements [`SeriesSource`].
pub struct View {}

impl SeriesSource for View {
    fn select<'a>(&'a self, request: &SelectRequest<'a>) -> Result<Box<dyn SeriesStream + 'a>, SelectError> {
        unimplemented!()
    }

    fn series(&self, request: &SelectRequest<'_>) -> Result<Vec<Labels>, SelectError> {
        unimplemented!()
    }

    fn label_names(&self, request: &SelectRequest<'_>) -> Result<Vec<String>, SelectError> {
        unimplemented!()
    }

    fn label_values(&self, name: &str, request: &SelectRequest<'_>) -> Result<Vec<String>, SelectError> {
        unimplemented!()
    }

    fn metadata(&self, metric: Option<&str>) -> Result<Vec<MetadataEntry>, SelectError> {
        unimplemented!()
    }
}
