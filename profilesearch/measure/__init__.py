"""What is measured of networks beside accuracy, and what measurements say."""
