import numpy as np
import pytest
from astropy.io import fits

from scatcache.errors import SourceError
from scatcache.images.catalogue import open_source
from scatcache.images.contents import Contents
from tests.images.kinds.arrays.array_places import N, make_images


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float32"])
def test_samples_of_every_dtype_are_those_that_were_written(tmp_path, dtype):
    images = make_images("NHW", dtype)
    fits.PrimaryHDU(images).writeto(tmp_path / "x.fit")
    source = open_source(tmp_path / "x.fit")
    part = source.splits["all"]
    assert source.options == {"array": "PRIMARY", "axes": "NHW"} and part.read(0).dtype == dtype
    for i in (0, N - 1):
        np.testing.assert_array_equal(part.read(i)[..., 0], images[i])


def test_scaled_samples_and_blanks_are_astropys(tmp_path):
    hdu = fits.PrimaryHDU(make_images("NHW", "int16"))
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 10.0, 7
    hdu.writeto(tmp_path / "x.fits")
    part = open_source(tmp_path / "x.fits").splits["all"]
    expected = fits.getdata(tmp_path / "x.fits")
    assert np.isnan(expected).any() and part.image_form.dtype == "float32"
    for i in range(N):
        np.testing.assert_array_equal(part.read(i)[..., 0], expected[i])


def test_hdus_of_one_name_are_told_apart_and_tables_left_out(tmp_path):
    one, two = (fits.ImageHDU(make_images("NHW", "int16", seed=seed), name="SCI", ver=seed) for seed in (1, 2))
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])], name="T")
    fits.HDUList([fits.PrimaryHDU(), one, two, table]).writeto(tmp_path / "x.fts")
    with pytest.raises(SourceError, match=r"several arrays, SCI,1 \(int16 .*\), SCI,2 \(int16 .*--array NAME"):
        open_source(tmp_path / "x.fts")
    part = open_source(tmp_path / "x.fts", contents=Contents(array="SCI,2")).splits["all"]
    np.testing.assert_array_equal(part.read(4)[..., 0], two.data[4])
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(SourceError, match="holds no array"):
        open_source(tmp_path / "empty.fits")
