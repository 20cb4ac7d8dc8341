// What Cornerstone3D's adapters, and so OHIF, make of a SEG: one JSON line with each segment's label, colour, voxels and centre in LPS mm.
// usage: node read_seg.mjs SEG.dcm FOLDER_OF_SOURCE_IMAGES
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import dcmjs from 'dcmjs';
import { metaData } from '@cornerstonejs/core';
import { Cornerstone3DSEG } from '@cornerstonejs/adapters/cornerstone3D';

const { Colors, DicomMessage, DicomMetaDictionary } = dcmjs.data;
const read = (file) => Uint8Array.from(readFileSync(file)).buffer;
const numbers = (value) => [].concat(value).map(Number);

const [segFile, folder] = process.argv.slice(2);
const planes = new Map();
for (const name of readdirSync(folder)) {
  const header = DicomMetaDictionary.naturalizeDataset(DicomMessage.readFile(read(join(folder, name))).dict);
  const cosines = numbers(header.ImageOrientationPatient);
  const [rowPixelSpacing, columnPixelSpacing] = numbers(header.PixelSpacing);
  planes.set(name, {
    instance: header,
    sopCommonModule: { sopInstanceUID: header.SOPInstanceUID, sopClassUID: header.SOPClassUID },
    generalImageModule: { sopInstanceUID: header.SOPInstanceUID },
    generalSeriesModule: { modality: header.Modality, seriesInstanceUID: header.SeriesInstanceUID, studyInstanceUID: header.StudyInstanceUID },
    imagePixelModule: { bitsAllocated: 16, bitsStored: 16, highBit: 15, pixelRepresentation: 0, samplesPerPixel: 1, photometricInterpretation: 'MONOCHROME2' },
    imagePlaneModule: {
      rows: header.Rows, columns: header.Columns, frameOfReferenceUID: header.FrameOfReferenceUID,
      imageOrientationPatient: cosines, rowCosines: cosines.slice(0, 3), columnCosines: cosines.slice(3),
      imagePositionPatient: numbers(header.ImagePositionPatient), pixelSpacing: [rowPixelSpacing, columnPixelSpacing],
      rowPixelSpacing, columnPixelSpacing, sliceThickness: Number(header.SliceThickness),
    },
  });
}
const provider = (kind, imageId) => planes.get(imageId)?.[kind];
metaData.addProvider(provider, 10000);

const state = await Cornerstone3DSEG.Segmentation.generateToolState([...planes.keys()], read(segFile), { get: provider });
const sums = new Map();
for (const image of state.labelMapImages.flat()) {
  const plane = provider('imagePlaneModule', image.referencedImageId);
  const pixels = image.voxelManager.getScalarData();
  pixels.forEach((segment, n) => {
    if (!segment) return;
    const sum = sums.get(segment) ?? [0, 0, 0, 0];
    const along = (n % plane.columns) * plane.columnPixelSpacing;
    const down = Math.floor(n / plane.columns) * plane.rowPixelSpacing;
    sum[0] += 1;
    for (const axis of [0, 1, 2]) sum[axis + 1] += plane.imagePositionPatient[axis] + along * plane.rowCosines[axis] + down * plane.columnCosines[axis];
    sums.set(segment, sum);
  });
}
const segments = state.segMetadata.data.filter(Boolean).map(({ SegmentNumber, SegmentLabel, RecommendedDisplayCIELabValue }) => {
  const rgb = Colors.dicomlab2RGB(RecommendedDisplayCIELabValue).map((part) => Math.round(255 * part));
  const [voxels, ...total] = sums.get(SegmentNumber) ?? [0, 0, 0, 0];
  return { number: SegmentNumber, label: SegmentLabel, rgb, voxels, centre_mm: total.map((sum) => sum / voxels) };
});
console.log(JSON.stringify(segments));
