"""Several processes that train one model together, as torchrun starts them."""
