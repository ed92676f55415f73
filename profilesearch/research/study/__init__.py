"""The study: experiments that test the claims behind the project, resumable measurement by measurement."""
