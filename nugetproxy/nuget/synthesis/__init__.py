"""Documents made of held packages, for when nobody else can say."""
