"""Everything of one upstream, in terms of NuGet."""
