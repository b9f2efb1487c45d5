"""The format of MNIST's images, which every dataset, model and picture of this project is brought into."""

from typing import Final

IMAGE_SIZE: Final = 28  # pixels a side
BOX_SIZE: Final = 20  # pixels: a digit's longer side, before it is centred by mass
SUFFICIENT_SIDE: Final = 1024  # pixels a side that suffice to recognise one digit; larger JPEGs are decoded smaller
